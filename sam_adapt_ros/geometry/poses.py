"""Poses over time."""

from __future__ import annotations

import threading
from bisect import bisect_left

import numpy as np

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.transforms import Transform, interpolate

SECOND = 1_000_000_000
"""Nanoseconds."""


class PoseBuffer:
    """Poses of one frame in another over the last seconds. Thread-safe.

    max_age_s: poses older than the newest by more than this are removed; None: never.
    max_backward_s: a stamp that goes back further than this means a looping bag or a clock jump: all poses are removed.
        Within it poses may come in any order; a second pose of the same stamp replaces the first. None: without limit.
    """

    def __init__(self, max_age_s: float | None = 10.0, max_backward_s: float | None = 1.0) -> None:
        self._max_age_ns = None if max_age_s is None else round(max_age_s * SECOND)
        self._max_backward_ns = None if max_backward_s is None else round(max_backward_s * SECOND)
        self._stamps: list[int] = []
        self._poses: list[Transform] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, T: Transform) -> None:
        """Keeps a pose (4, 4)."""
        T = np.array(T, np.float64)
        with self._lock:
            stamps, poses = self._stamps, self._poses
            backward = self._max_backward_ns
            if stamps and backward is not None and stamp_ns < stamps[-1] - backward:
                stamps.clear()
                poses.clear()
            place = bisect_left(stamps, stamp_ns)
            if place < len(stamps) and stamps[place] == stamp_ns:
                poses[place] = T
                return
            stamps.insert(place, stamp_ns)
            poses.insert(place, T)
            if self._max_age_ns is not None:
                surplus = bisect_left(stamps, stamps[-1] - self._max_age_ns)
                del stamps[:surplus], poses[:surplus]

    def span(self) -> tuple[int, int] | None:
        """The first and the last pose's stamp; None when there is none."""
        with self._lock:
            return (self._stamps[0], self._stamps[-1]) if self._stamps else None

    def lookup(self, stamp_ns: int, max_extrapolation_s: float = 0.0) -> Transform:
        """The pose (4, 4) at a stamp, interpolated between its neighbours.

        max_extrapolation_s: how far outside the known span the motion is continued at constant velocity.

        Raises CalibrationError, reason ``transform_missing`` (nothing known), ``transform_early`` (before the first
        pose) or ``transform_late`` (after the last one: a later pose may yet come).
        """
        with self._lock:
            stamps, poses = self._stamps, self._poses
            if not stamps:
                raise CalibrationError("no pose known", reason="transform_missing")
            after = bisect_left(stamps, stamp_ns)
            if after < len(stamps) and stamps[after] == stamp_ns:
                return poses[after].copy()
            if 0 < after < len(stamps):
                a, b = after - 1, after
            else:
                early = after == 0
                outside = stamps[0] - stamp_ns if early else stamp_ns - stamps[-1]
                if outside > max_extrapolation_s * SECOND or len(stamps) < 2:
                    side = "before the first" if early else "after the last"
                    raise CalibrationError(
                        f"stamp {stamp_ns} is {outside / SECOND:.3f} s {side} of {len(stamps)} poses "
                        f"(at most {max_extrapolation_s} s and two poses are needed to extrapolate)",
                        reason="transform_early" if early else "transform_late",
                    )
                a, b = self._baseline(early, outside)
            return interpolate(poses[a], poses[b], (stamp_ns - stamps[a]) / (stamps[b] - stamps[a]))

    def _baseline(self, early: bool, outside: int) -> tuple[int, int]:
        """The two poses to take the velocity from: the outermost one, and one that is at least as far from it as is
        extrapolated, so that the poses' errors do not grow, however close together the last ones are."""
        stamps = self._stamps
        if early:
            return 0, min(max(1, bisect_left(stamps, stamps[0] + outside)), len(stamps) - 1)
        return max(min(bisect_left(stamps, stamps[-1] - outside + 1) - 1, len(stamps) - 2), 0), len(stamps) - 1
