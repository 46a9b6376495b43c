"""How the vehicle moves between the stamps of a sweep and its images, and what keeps that from being known."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import TransformConfig
from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.deskew import deskew
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.geometry.transform_tree import TransformTree
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages.point_cloud import Cloud
from sam_adapt_ros.messages.point_times import seconds_after_stamp, time_field
from sam_adapt_ros.notices import Notices

logger = logging.getLogger(__name__)

NO_MOTION, POSE_EXTRAPOLATED = "no_motion", "pose_extrapolated"
"""Reasons that images, or a frame's own pose, are used with: their motion is not known, or continued beyond what is."""
MOTION_NOTICE = "motion"
WINDOW = 20
"""Sweeps that are looked back on; a condition of half of them is said."""
_OTHER_CLOCK_S = 1.0  # no odometry comes so late


@dataclass(frozen=True)
class Motion:
    """What is known of the motion of one frame.

    extrapolated: seconds by which poses were extrapolated at most. error: why the motion is not known; None: it is.
    outside: seconds by which a stamp was outside the known poses then; infinite where frames are not connected.
    """

    extrapolated: float = 0.0
    error: CalibrationError | None = None
    outside: float = 0.0

    def worse(self, other: Motion) -> Motion:
        """The one that tells of the greater lack."""
        return max(self, other, key=lambda motion: (motion.error is not None, motion.extrapolated))


class VehicleMotion:
    """Looks poses up in the frame that the vehicle moves in, and says when they are extrapolated or not known.

    tree: has the poses.
    """

    def __init__(self, tree: TransformTree, config: TransformConfig, notices: Notices) -> None:
        self._tree, self._config, self._notices = tree, config, notices
        self._recent: deque[Motion] = deque(maxlen=WINDOW)
        self._all: deque[Motion] = deque(maxlen=50 * WINDOW)
        self._skewed: deque[str] = deque(maxlen=WINDOW)  # of sweeps whose points carry times, why they stay as they are
        self._logged: set[str] = set()

    def fixed_frame(self, lidar: str) -> str:
        """The configured odometry frame; where it does not lead to the LiDAR, the one that the base frame moves in,
        whatever its name (``map``, ``world``); the one that the LiDAR moves in where the base frame is not known."""
        configured, base = self._config.odometry_frame, self._config.base_frame
        if self._tree.connected(configured, lidar):
            return configured
        found = self._tree.fixed_above(base if self._tree.connected(base, lidar) else lidar)
        if found:
            self._log_once(f"transforms.odometry_frame: no frame {configured} is known, the vehicle moves in {found}")
        return found or configured

    def awaited(self, lidar: str, stamp_ns: int, others: Iterable[tuple[str, int]]) -> set[str]:
        """What is lacking at the stamps of a sweep and its images and may yet come, a name each.

        others: frames of the cameras, with their images' stamps.
        """
        fixed = self.fixed_frame(lidar)
        lacking = set()
        for frame, stamp in [(lidar, stamp_ns), *others]:
            try:
                self._tree.lookup(fixed, frame, stamp)
            except CalibrationError as error:
                if error.reason == "transform_late" or (error.reason == "transform_missing" and frame == lidar):
                    lacking.add(f"{error.reason} of {frame}")
        return lacking

    def pose(self, frame: str, stamp_ns: int) -> tuple[Transform | None, float]:
        """``T_fixed_frame`` (4, 4) at the stamp, None where it is not known; and by how much it is extrapolated [s]."""
        fixed = self.fixed_frame(frame)
        try:
            T = self._tree.lookup(fixed, frame, stamp_ns, self._config.max_extrapolation)
        except CalibrationError:
            return None, 0.0
        return T, self._tree.seconds_outside(fixed, frame, stamp_ns)

    def between(self, frame: str, stamp_ns: int, lidar: str, sweep_ns: int) -> tuple[Transform, Motion]:
        """``T_frame_lidar`` from the LiDAR at the sweep's stamp to a frame at another one. Where the motion between the
        two is not known, as if there were none.

        Raises CalibrationError when the frames are not connected.
        """
        limit = self._config.max_extrapolation
        if stamp_ns == sweep_ns:  # no time to move in
            return self._tree.lookup(frame, lidar, sweep_ns, limit), Motion()
        fixed = self.fixed_frame(lidar)
        ends = (lidar, sweep_ns), (frame, stamp_ns)
        try:
            T = self._tree.lookup_full(frame, stamp_ns, lidar, sweep_ns, fixed, limit)
        except CalibrationError as error:
            T = self._tree.lookup(frame, lidar, sweep_ns, limit)
            try:
                outside = max(self._tree.seconds_outside(fixed, *end) for end in ends)
            except CalibrationError:
                outside = math.inf
            return T, Motion(error=error, outside=outside)
        return T, Motion(extrapolated=max(self._tree.seconds_outside(fixed, *end) for end in ends))

    def undone(self, points: NDArray[np.float32], cloud: Cloud, lidar: str, stamp_ns: int) -> NDArray[np.float32]:
        """(N, 3) a sweep's points with the motion within the sweep undone; the same array where they carry no times, or
        the poses are not known.

        points: (N, 3) as the message has them, in the LiDAR's frame. Poses are continued at constant velocity to the
        sweep's end: later ones would have to be waited for.
        """
        name = time_field(cloud.columns)
        if name is None:
            return points
        seconds = seconds_after_stamp(cloud.field(name), stamp_ns)
        text = ""
        if seconds is None:
            text = f"field {name} has no times of a sweep (s, ms, µs or ns, since the stamp or on its clock)"
        else:
            limit = self._config.max_extrapolation + float(np.nanmax(np.abs(seconds)))
            fixed = self.fixed_frame(lidar)
            try:
                points = deskew(
                    points,
                    seconds,
                    lambda after: self._tree.lookup(fixed, lidar, stamp_ns + round(after * SECOND), limit),
                )
            except CalibrationError as error:
                text = str(error)
            else:
                self._log_once(
                    f"point cloud: the vehicle's motion within the sweeps is undone by field {name}; set lidar.deskew: "
                    "false where that was done before"
                )
        self._skewed.append(text and f"although the points have a field {name}: {text}")
        self._say_skewed(WINDOW // 2)
        return points

    def note(self, motion: Motion) -> None:
        """Takes what was known of one frame; ``notices`` has what is wrong with most of the last ones."""
        self._recent.append(motion)
        self._all.append(motion)
        self._say(self._recent, WINDOW // 2)

    def conclude(self) -> None:
        """No more frames will come: the notices become those of all of them, however few they were."""
        self._say(self._all, math.ceil(len(self._all) / 2))
        self._say_skewed(math.ceil(len(self._skewed) / 2))

    def _log_once(self, text: str) -> None:
        if text not in self._logged:
            self._logged.add(text)
            logger.info("%s", text)

    def _say(self, motions: deque[Motion], enough: int) -> None:
        unknown = [motion for motion in motions if motion.error is not None]
        extrapolated = [motion.extrapolated for motion in motions if motion.extrapolated]
        of = f"of {len(motions)} sweeps"
        text = ""
        if unknown and len(unknown) >= enough:
            text = (
                f"the vehicle's motion between {len(unknown)} {of} and their images is not known, so that they are "
                f"projected as if it stood still: {self._explain(unknown[-1])}"
            )
        self._notices.set(MOTION_NOTICE, text)
        text = ""
        if extrapolated and len(extrapolated) >= enough:
            text = (
                f"the poses of {len(extrapolated)} {of} or their images are extrapolated, by "
                f"{np.median(extrapolated) * 1e3:.0f} ms (median): TF or odometry comes later than transforms.timeout "
                f"({self._config.timeout:g} s), or too rarely"
            )
        self._notices.set("poses_extrapolated", text)

    def _say_skewed(self, enough: int) -> None:
        reasons = [reason for reason in self._skewed if reason]
        text = ""
        if reasons and len(reasons) >= enough:
            text = (
                f"point cloud: the vehicle's motion within {len(reasons)} of {len(self._skewed)} sweeps is not undone, "
                f"{reasons[-1]}; lidar.deskew: false leaves them as they are"
            )
        self._notices.set("sweep_motion", text)

    def _explain(self, motion: Motion) -> str:
        assert motion.error is not None
        if math.isinf(motion.outside):
            remedy = (
                f"transforms.odometry_frame ({self._config.odometry_frame}), base_frame ({self._config.base_frame}) "
                f"and odometry_topic ({self._config.odometry_topic}) name where it comes from"
            )
        elif motion.outside > _OTHER_CLOCK_S:
            remedy = "its stamps are of another clock than the sweeps', or it has stopped"
        else:
            remedy = "let it come sooner and more often, or raise transforms.timeout or max_extrapolation"
        return f"{motion.error}; {remedy}"
