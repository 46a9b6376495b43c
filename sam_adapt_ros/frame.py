"""A frame: one LiDAR sweep with the camera images that belong to it and the calibration that ties them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sam_adapt_ros.geometry.camera import CameraModel

IGNORE = 255
"""Class id of points that have no label."""


@dataclass(frozen=True, eq=False)
class CameraView:
    """One camera's image within a frame.

    image: (H, W, 3) uint8 RGB.
    camera: intrinsics of that very image (H and W are the model's).
    T_camera_lidar: (4, 4) float64, LiDAR frame at the sweep's stamp -> camera optical frame at the image's stamp,
        so that the vehicle's motion between the two is undone.
    instances: (H, W) uint16 instance ids where a simulator knows them (0 = none), for evaluation only.
    frame_id: the camera's optical frame, where messages name it.
    """

    name: str
    stamp_ns: int
    image: NDArray[np.uint8]
    camera: CameraModel
    T_camera_lidar: NDArray[np.float64]
    instances: NDArray[np.uint16] | None = None
    frame_id: str = ""


@dataclass(frozen=True, eq=False)
class Frame:
    """One sweep and its images, at the sweep's stamp.

    points: (N, 3) float32 metres in the LiDAR frame, or in the vehicle's where the sweep comes in a frame that the
        vehicle moves in (a map's): the origin is about where the sensor is. Where points carry times, the vehicle's
        motion within the sweep is undone: all are where the LiDAR saw them at the stamp. Rows are NaN that are no
        measurement.
    views: the cameras that came, any number, in the configuration's order.
    ground_truth: (N,) uint8 class ids of the configured taxonomy, 255 = ignore, where the bag has labels.
    T_odom_lidar: (4, 4) float64 pose of the LiDAR at the stamp, where odometry is known.
    instances: (N,) uint16 true instance ids, the same as in the views, where a simulator knows them (0 = none), for
        evaluation only.
    T_base_lidar: (4, 4) float64 where the LiDAR is mounted, LiDAR frame -> vehicle frame (REP-105: x forward, z up),
        where TF, a calibration file or a data set says so. The network sees the points along the vehicle's axes, so
        that a tilted mounting changes nothing.
    intensity: (N,) float32 strength of the returns as the sensor gives it, in whatever unit; None where it gives none.
    message_points: (N, 3) float32 metres in ``frame_id``, as the message has them; None: ``points`` are the same.
    image_labels: (N,) uint8 as ``ground_truth``, where the image branch is trained with labels of its own (xMUDA's
        pseudo-labels are a branch's own); None: the same ones.
    """

    stamp_ns: int
    frame_id: str
    points: NDArray[np.float32]
    views: tuple[CameraView, ...] = ()
    ground_truth: NDArray[np.uint8] | None = None
    T_odom_lidar: NDArray[np.float64] | None = None
    instances: NDArray[np.uint16] | None = None
    T_base_lidar: NDArray[np.float64] | None = None
    message_points: NDArray[np.float32] | None = None
    intensity: NDArray[np.float32] | None = None
    image_labels: NDArray[np.uint8] | None = None

    @property
    def published_points(self) -> NDArray[np.float32]:
        """(N, 3) for label clouds: where the sweep itself has its points, in ``frame_id``."""
        return self.points if self.message_points is None else self.message_points
