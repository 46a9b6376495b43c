"""One map for the poses of a live stream, although the vehicle's odometry begins anew when it is switched on again."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags.drive_maps import APART_M, FASTEST, LONGEST_PAUSE_S
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.geometry.transforms import Transform

logger = logging.getLogger(__name__)

CORRECTION_M = 5.0
"""A localization that corrects itself may jump so far."""


class ContinuousOdometry:
    """Puts what is driven after odometry has begun anew far away on the map from what was driven before, so that places
    of different drives are never taken for the same: their sweeps would vote on each other's points.

    Odometry has begun anew where, within LONGEST_PAUSE_S, the pose goes farther than a vehicle drives; or, after a
    longer pause, where the pose is nearer to odometry's origin than to where the vehicle was. Where stamps go back, a
    bag loops: it is driven once more on the same map.
    """

    def __init__(self) -> None:
        self._drives = 0  # that have begun after the first one
        self._shift = np.zeros(3)  # of the present drive's poses, in metres
        self._last: tuple[int, NDArray[np.float64]] | None = None  # stamp and position, as odometry gives it

    def place(self, stamp_ns: int, T_odom_lidar: Transform | None) -> Transform | None:
        """A frame's pose (4, 4) on the map; the pose itself where it is not shifted, or not known or finite.

        To be called for every frame of the stream, in order.
        """
        if T_odom_lidar is None or not np.isfinite(T_odom_lidar).all():
            return T_odom_lidar
        position = np.array(T_odom_lidar[:3, 3], np.float64)
        if self._last is not None and _begins_anew(*self._last, stamp_ns, position):
            self._drives += 1
            self._shift = np.array([self._drives * APART_M, 0.0, 0.0])
            before_ns, before = self._last
            logger.warning(
                "odometry has begun anew: %.0f m from where it was %.1f s before; what is driven from now on is kept "
                "apart from the drives before, and places that they share are not recognized",
                np.linalg.norm(position - before),
                (stamp_ns - before_ns) / SECOND,
            )
        self._last = (stamp_ns, position)
        if not self._shift.any():
            return T_odom_lidar
        placed = np.array(T_odom_lidar)
        placed[:3, 3] += self._shift
        return placed

    def state(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        last = None if self._last is None else [self._last[0], self._last[1].tolist()]
        return {"drives": self._drives, "shift": self._shift.tolist(), "last": last}

    def restore(self, state: dict[str, Any]) -> None:
        """What ``state`` gave. Raises KeyError or ValueError for anything else."""
        self._drives, self._shift = int(state["drives"]), np.array(state["shift"], np.float64).reshape(3)
        last = state["last"]
        self._last = None if last is None else (int(last[0]), np.array(last[1], np.float64).reshape(3))


def _begins_anew(before_ns: int, before: NDArray[np.float64], stamp_ns: int, position: NDArray[np.float64]) -> bool:
    pause, moved = (stamp_ns - before_ns) / SECOND, float(np.linalg.norm(position - before))
    if pause <= 0 or moved <= CORRECTION_M:
        return False
    if pause <= LONGEST_PAUSE_S:
        return moved > FASTEST * pause + CORRECTION_M
    return float(np.linalg.norm(position)) < moved
