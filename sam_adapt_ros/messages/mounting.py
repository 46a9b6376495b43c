"""Where the LiDAR is mounted on the vehicle, and whether the vehicle's frame is level."""

from __future__ import annotations

import contextlib

import numpy as np

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.transform_tree import TransformTree
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.notices import Notices

TILT_DEGREES = 15.0
"""Steeper than any street: a base frame that leans more is no vehicle frame in the sense of REP-105."""
TILTED_SWEEPS = 20
"""So many sweeps in a row: a ramp is shorter."""


class Mounting:
    """Looks up ``T_base_lidar`` sweep by sweep, and says when the base frame is not level."""

    def __init__(self, base: str, max_extrapolation_s: float, notices: Notices) -> None:
        """base: the vehicle's frame (REP-105: x forward, z up)."""
        self._base, self._limit, self._notices = base, max_extrapolation_s, notices
        self._tilted = 0

    def at(self, tree: TransformTree, lidar: str, stamp_ns: int, fixed: str) -> Transform | None:
        """``T_base_lidar`` (4, 4); None where the vehicle's frame is not known. fixed: the frame whose z is up."""
        try:
            T = tree.lookup(self._base, lidar, stamp_ns, self._limit)
        except CalibrationError:
            return None
        with contextlib.suppress(CalibrationError):  # without odometry nothing says which way is up
            self._check_level(tree.lookup(fixed, self._base, stamp_ns, self._limit), fixed)
        return T

    def _check_level(self, T_fixed_base: Transform, fixed: str) -> None:
        tilt = float(np.degrees(np.arccos(np.clip(T_fixed_base[2, 2], -1, 1))))
        self._tilted = self._tilted + 1 if tilt > TILT_DEGREES else 0
        if self._tilted >= TILTED_SWEEPS:
            self._notices.add(
                "base_frame_tilted",
                f"frame {self._base}: level expected (REP-105), it leans by {tilt:.0f} degrees in {fixed}; the network "
                "sees the points along its axes, so labels will be worse. Set transforms.base_frame to a frame with x "
                "forward and z up, or mend the transform above it",
            )
        elif not self._tilted:
            self._notices.withdraw("base_frame_tilted")
