"""Labels of a real street when the LiDAR is mounted turned or tilted, with and without the mounting being known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sam_adapt_ros import benchmarks
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.transforms import invert, transform_points
from sam_adapt_ros.segmentation import Segmenter

MOUNTINGS = {
    "as it is": (0.0, 0.0, 0.0),
    "turned by 90 degrees": (90.0, 0.0, 0.0),
    "pitched by 10 degrees": (0.0, 10.0, 0.0),
    "pitched by 20 degrees": (0.0, 20.0, 0.0),
    "rolled by 20 degrees": (0.0, 0.0, 20.0),
}
"""Yaw, pitch and roll relative to the vehicle, degrees."""


def run(quick: bool = False) -> list[Figure]:
    """Fused mean IoU where a camera sees, of the bundled model in San Francisco; every fourth sweep when quick.

    Points and extrinsics are those that a LiDAR mounted in that way would have given, apart from where its beams fall.
    """
    data = benchmarks.real_data()
    if data is None or not (bag := data / "pandaset_002").is_dir():
        return []
    segmenter = Segmenter.load("town_small")
    frames = drive(bag, 4 if quick else 1)
    figures = []
    for name, (yaw, pitch, roll) in MOUNTINGS.items():
        for known in (True, False):
            turned = (mounted(frame, yaw, pitch, roll, known) for frame in frames)
            note = "TF names the mounting" if known else "mounting unknown"
            figures.append(Figure(f"{name}, {note}", _miou_seen(segmenter, turned), "mIoU", note="pandaset_002, front"))
    return figures


def drive(bag: Path, step: int = 1) -> list[Frame]:
    """Every ``step``-th sweep of PandaSet's sequence 002 with the front camera, with labels of the town's classes."""
    config = Config.from_flat(
        {
            "taxonomy": "town",
            "lidar.topic": "/pandar64/points",
            "cameras.front.image": "/camera/front/image_raw/compressed",
            "cameras.front.info": "/camera/front/camera_info",
            "ground_truth.mapping": "pandaset",
            "lidar.deskew": False,  # PandaSet has undone the motion within its sweeps
        }
    )
    with BagReader(bag, config) as reader:
        return list(reader.frames(range(0, reader.sweeps, step)))


def mounted(frame: Frame, yaw: float, pitch: float, roll: float, known: bool) -> Frame:
    """The frame of a LiDAR that is turned by these angles, degrees, against the vehicle's axes, about its own origin.

    known: whether ``T_base_lidar`` is.
    """
    assert frame.T_base_lidar is not None
    T_level_lidar, turn = np.eye(4), np.eye(4)
    T_level_lidar[:3, :3] = frame.T_base_lidar[:3, :3]
    turn[:3, :3] = Rotation.from_euler("ZYX", (yaw, pitch, roll), degrees=True).as_matrix()
    T_lidar_turned = invert(T_level_lidar) @ turn
    return replace(
        frame,
        points=transform_points(invert(T_lidar_turned), frame.points),
        views=tuple(replace(view, T_camera_lidar=view.T_camera_lidar @ T_lidar_turned) for view in frame.views),
        T_odom_lidar=None if frame.T_odom_lidar is None else frame.T_odom_lidar @ T_lidar_turned,
        T_base_lidar=frame.T_base_lidar @ T_lidar_turned if known else None,
    )


def _miou_seen(segmenter: Segmenter, frames: Iterator[Frame]) -> float:
    confusion = Confusion(len(segmenter.taxonomy))
    for frame in frames:
        prediction = segmenter(frame)
        assert frame.ground_truth is not None
        confusion.add(frame.ground_truth[prediction.seen], prediction.by_branch()[Branch.FUSED][prediction.seen])
    return confusion.miou()
