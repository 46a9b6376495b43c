"""The maps of several bags: odometry that begins anew in each of them is kept apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.poses import SECOND

APART_M = 100_000.0
"""Between the first positions of bags that do not go on from one another: farther than a vehicle drives in one."""
LONGEST_PAUSE_S = 10.0
FASTEST = 50.0  # metres a second: what a vehicle may have driven in the pause between two bags of one recording


class DriveMaps:
    """Puts the poses of several bags on one map, so that places of different bags are never taken for the same.

    A bag that begins no later than LONGEST_PAUSE_S after the one before has ended, and no farther away than a vehicle
    drives meanwhile, goes on on its map, as the parts of one long recording do. Any other bag is put somewhere else.
    A bag is at the same place whenever it is read again, so that a second pass is a second lap.
    """

    def __init__(self) -> None:
        self._shifts: dict[int, NDArray[np.float64]] = {}
        self._origin: NDArray[np.float64] | None = None  # the first position of the first bag
        self._last: tuple[int, NDArray[np.float64], NDArray[np.float64]] | None = None  # stamp, position, shift

    def place(self, number: int, frame: Frame) -> Frame:
        """A frame of bag ``number`` with its pose on the common map; as it is, where it has none."""
        pose = frame.T_odom_lidar
        if pose is None or not np.isfinite(pose).all():
            return frame
        position = pose[:3, 3].copy()
        if number not in self._shifts:
            self._shifts[number] = self._shift(number, frame.stamp_ns, position)
        shift = self._shifts[number]
        self._last = frame.stamp_ns, position, shift
        if not shift.any():
            return frame
        moved = pose.copy()
        moved[:3, 3] += shift
        return replace(frame, T_odom_lidar=moved)

    def _shift(self, number: int, stamp_ns: int, position: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._origin is None or self._last is None:
            self._origin = position
            return np.zeros(3)
        before_ns, before, shift = self._last
        pause = (stamp_ns - before_ns) / SECOND
        if 0 < pause <= LONGEST_PAUSE_S and np.linalg.norm(position - before) <= FASTEST * pause:
            return shift
        return self._origin - position + np.array([number * APART_M, 0.0, 0.0])
