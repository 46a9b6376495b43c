"""The vehicle's motion within a sweep undone: each point is brought to where the LiDAR is at the sweep's stamp."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.geometry.transforms import Transform

_STEP = 0.005  # seconds between poses; a vehicle's motion in between is a chord to a fraction of a millimetre
_STILL = 1e-3  # metres that no point is moved by more than
_FAR = 100.0  # metres that a turn is counted at


def deskew(
    points: NDArray[np.float32], seconds: NDArray[np.float64], pose_at: Callable[[float], Transform]
) -> NDArray[np.float32]:
    """(N, 3) points in the LiDAR's frame at the sweep's stamp; the same array where the LiDAR hardly moves.

    points: (N, 3) metres, each in the LiDAR's frame at its own time. seconds: (N,) these times, after the stamp; points
        whose time is not finite stay where they are.
    pose_at: ``T_fixed_lidar`` (4, 4) so many seconds after the stamp, in a frame that does not move. It is asked every
        5 ms of the sweep, and what it raises is raised.
    """
    timed = np.isfinite(seconds) & np.isfinite(points).all(1)
    if not timed.any():
        return points
    first, last = float(seconds[timed].min()), float(seconds[timed].max())
    count = max(2, int(np.ceil((last - first) / _STEP)) + 1)
    knots = np.linspace(first, last, count)
    to_stamp = np.linalg.inv(pose_at(0.0)) @ np.stack([pose_at(float(knot)) for knot in knots])
    if np.linalg.norm(to_stamp - np.eye(4), axis=(1, 2)).max() * _FAR < _STILL:
        return points
    place = (seconds[timed] - first) * ((count - 1) / max(last - first, 1e-9))
    before = np.minimum(place.astype(np.int64), count - 2)
    share = (place - before)[:, None, None]
    moves = to_stamp[before, :3] * (1 - share) + to_stamp[before + 1, :3] * share
    result = np.array(points, np.float32)
    exact = points[timed].astype(np.float64)
    result[timed] = np.einsum("nij,nj->ni", moves[:, :, :3], exact) + moves[:, :, 3]
    return result
