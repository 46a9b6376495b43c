"""One map for the poses of a live stream, although the vehicle's odometry begins anew when it is switched on again."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags.drive_maps import APART_M, FASTEST
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.geometry.transforms import Transform

logger = logging.getLogger(__name__)

SWITCHED_OFF_S = 60.0
NEAR_ORIGIN_M = 50.0
"""Odometry that has just begun is so near to its origin. A localization may jump so far when it is corrected."""
MOST_DRIVES = 1000
"""Then the place of the oldest one on the map is used again: its frames have long been pushed out."""
_LOGGED = 20  # drives; a publisher that begins anew all the time must not fill the log


class ContinuousOdometry:
    """Puts what is driven after odometry has begun anew far away on the map from what was driven before, so that places
    of different drives are never taken for the same: their sweeps would vote on each other's points.

    Odometry has begun anew where the pose has come to odometry's origin from elsewhere, and a vehicle cannot have
    driven there since, or was perhaps switched off meanwhile (no pose for SWITCHED_OFF_S). Poses of a map that a
    vehicle is localized in hardly ever do so, and stay one map. A stamp within the span of an earlier drive is that
    drive once more, as when a bag loops.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []  # of each drive, its first and its last stamp
        self._drive = 0
        self._last: tuple[int, NDArray[np.float64]] | None = None  # stamp and position, as odometry gives it

    def place(self, stamp_ns: int, T_odom_lidar: Transform | None) -> Transform | None:
        """A frame's pose (4, 4) on the map; the pose itself where it is not shifted, or not known or finite.

        To be called for every frame of the stream, in order.
        """
        if T_odom_lidar is None or not np.isfinite(T_odom_lidar).all():
            return T_odom_lidar
        position = np.array(T_odom_lidar[:3, 3], np.float64)
        if self._last is None:
            self._spans = [(stamp_ns, stamp_ns)]
        else:
            self._choose_drive(*self._last, stamp_ns, position)
        self._last = (stamp_ns, position)
        first, last = self._spans[self._drive]
        self._spans[self._drive] = (first, max(last, stamp_ns))
        if not self._drive:
            return T_odom_lidar
        placed = np.array(T_odom_lidar)
        placed[0, 3] += self._drive * APART_M
        return placed

    def _choose_drive(
        self, before_ns: int, before: NDArray[np.float64], stamp_ns: int, position: NDArray[np.float64]
    ) -> None:
        pause, moved = (stamp_ns - before_ns) / SECOND, float(np.linalg.norm(position - before))
        anew = (
            moved > NEAR_ORIGIN_M
            and float(np.linalg.norm(position)) < NEAR_ORIGIN_M
            and (not 0 <= pause <= SWITCHED_OFF_S or moved > FASTEST * pause + NEAR_ORIGIN_M)
        )
        if not (anew or pause < 0):
            return
        held = [drive for drive, (first, last) in enumerate(self._spans) if first <= stamp_ns <= last]
        if held:
            self._drive = held[-1]
        elif anew:
            if len(self._spans) < MOST_DRIVES:
                self._drive = len(self._spans)
                self._spans.append((stamp_ns, stamp_ns))
            else:
                self._drive = min(range(MOST_DRIVES), key=lambda drive: self._spans[drive][1])
                self._spans[self._drive] = (stamp_ns, stamp_ns)
            if len(self._spans) <= _LOGGED:
                logger.warning(
                    "odometry has begun anew: %.0f m from where it was %.1f s before; what is driven from now on is "
                    "kept apart from the drives before, and places that they share are not recognized",
                    moved,
                    pause,
                )

    def state(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        last = None if self._last is None else [self._last[0], self._last[1].tolist()]
        return {"drive": self._drive, "spans": self._spans, "last": last}

    def restore(self, state: dict[str, Any]) -> None:
        """What ``state`` gave. Raises KeyError, TypeError, ValueError or IndexError for anything else."""
        spans, last = [(int(first), int(last)) for first, last in state["spans"]], state["last"]
        self._last = None if last is None else (int(last[0]), np.array(last[1], np.float64).reshape(3))
        self._spans, self._drive = spans, int(state["drive"])
        if self._last is not None:
            _ = spans[self._drive]
