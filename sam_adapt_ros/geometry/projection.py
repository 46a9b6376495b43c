"""LiDAR points -> pixels, for one camera and for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry.transforms import transform_axes


class Projection(NamedTuple):
    """uv: (N, 2) float32 pixels; depth: (N,) float32 metres along the optical axis; valid: (N,) bool;
    cosine: (N,) float32, of the angle between the point's ray and the optical axis.

    uv, depth and cosine mean nothing where not valid.
    """

    uv: NDArray[np.float32]
    depth: NDArray[np.float32]
    valid: NDArray[np.bool_]
    cosine: NDArray[np.float32]


class Assignment(NamedTuple):
    """camera: (N,) int8 index of the view that a point is taken from, -1 where no camera sees it;
    uv: (N, 2) float32 pixels in that view, NaN where none."""

    camera: NDArray[np.int8]
    uv: NDArray[np.float32]


def project(points_lidar: NDArray[np.float32], view: CameraView) -> Projection:
    """Projects (N, 3) points in metres in the LiDAR's frame into a view; ``valid`` as for ``CameraModel.project``."""
    points_camera = transform_axes(view.T_camera_lidar, points_lidar)
    uv, depth, valid = view.camera.project(points_camera.T)
    cosine = np.full(len(points_lidar), -np.inf, np.float32)
    with np.errstate(over="ignore"):  # points far beyond any LiDAR's range
        cosine[valid] = depth[valid] / np.linalg.norm(points_camera[:, valid], axis=0)
    return Projection(uv, depth, valid, cosine)


def project_all(points_lidar: NDArray[np.float32], views: Sequence[CameraView]) -> tuple[Projection, ...]:
    """``project`` into every view."""
    return tuple(project(points_lidar, view) for view in views)


def assign_cameras(projections: Sequence[Projection], count: int) -> Assignment:
    """For each of the ``count`` points the view to take it from: of those that see it, the one whose optical axis is
    nearest (smallest angle; ties: the first). projections: of the same points into every view."""
    camera = np.full(count, -1, np.int8)
    uv = np.full((count, 2), np.nan, np.float32)
    nearest = np.full(count, -np.inf, np.float32)
    for number, projection in enumerate(projections):
        index = np.flatnonzero(projection.valid & (projection.cosine > nearest))
        nearest[index] = projection.cosine[index]
        camera[index] = number
        uv[index] = projection.uv[index]
    return Assignment(camera, uv)
