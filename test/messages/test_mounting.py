"""The LiDAR's place on the vehicle, and a vehicle frame that is not level."""

import numpy as np
from scipy.spatial.transform import Rotation

from sam_adapt_ros.geometry.transform_tree import TransformTree
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages.mounting import TILTED_SWEEPS, Mounting
from sam_adapt_ros.notices import Notices


def leaning(degrees: float) -> Transform:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    return T


def test_the_mounting_is_that_of_the_tree() -> None:
    tree, notices = TransformTree(), Notices()
    mounting = Mounting("base_link", 0.1, notices)
    assert mounting.at(tree, "lidar", 0, "odom") is None
    tree.add("base_link", "lidar", 0, leaning(20), static=True)
    for stamp in range(2 * TILTED_SWEEPS):  # nothing says which way is up
        T = mounting.at(tree, "lidar", stamp, "odom")
        assert T is not None
        np.testing.assert_allclose(T, leaning(20))
    assert mounting.at(tree, "base_link", 0, "odom") is not None
    assert len(notices) == 0


def test_a_leaning_vehicle_frame_is_said_with_its_angle() -> None:
    tree, notices = TransformTree(), Notices()
    mounting = Mounting("base_link", 0.1, notices)
    tree.add("base_link", "lidar", 0, np.eye(4), static=True)

    def drive(degrees: float, sweeps: int) -> list[str]:
        tree.add("odom", "base_link", 0, leaning(degrees), static=True)
        for stamp in range(sweeps):
            mounting.at(tree, "lidar", stamp, "odom")
        return list(notices)

    assert drive(12, 100) == []  # a steep street
    assert drive(30, TILTED_SWEEPS - 1) == []
    (text,) = drive(30, 1)
    assert "base_link" in text and "30 degrees" in text and "transforms.base_frame" in text
    assert drive(0, 1) == []  # it ended
