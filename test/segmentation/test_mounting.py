"""However a LiDAR is mounted, its points get the same labels where the mounting is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sam_adapt_ros import simulation
from sam_adapt_ros.config import SegmenterConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.transforms import Transform, invert, transform_points
from sam_adapt_ros.segmentation.segmenter import Segmenter


@pytest.fixture(scope="module")
def shipped() -> Segmenter:
    return Segmenter.load("town_small.safetensors", SegmenterConfig())


@pytest.fixture(scope="module")
def level() -> Frame:
    return next(iter(simulation.frames("day", seed=9, frames=1)))


def turned(frame: Frame, euler: tuple[float, float, float]) -> Frame:
    """The same scene by a LiDAR that is mounted with this yaw, pitch and roll (degrees), about its own origin."""
    T_level_turned: Transform = np.eye(4)
    T_level_turned[:3, :3] = Rotation.from_euler("ZYX", euler, degrees=True).as_matrix()
    assert frame.T_base_lidar is not None and frame.T_odom_lidar is not None
    return replace(
        frame,
        points=transform_points(invert(T_level_turned), frame.points),
        views=tuple(replace(view, T_camera_lidar=view.T_camera_lidar @ T_level_turned) for view in frame.views),
        T_odom_lidar=frame.T_odom_lidar @ T_level_turned,
        T_base_lidar=frame.T_base_lidar @ T_level_turned,
    )


@pytest.mark.parametrize("euler", [(0, 20, 0), (0, -20, 0), (0, 0, 20), (90, 15, -15), (180, 0, 180)])
def test_a_turned_mounting_gives_the_same_labels(
    shipped: Segmenter, level: Frame, euler: tuple[float, float, float]
) -> None:
    frame = turned(level, euler)
    expected, got = shipped(level).labels, shipped(frame).labels
    assert np.mean(got == expected) >= 0.99
    if euler[1]:  # else the network would not notice anyway
        unknown = shipped(replace(frame, T_base_lidar=None)).labels
        assert np.mean(unknown == expected) < 0.97
