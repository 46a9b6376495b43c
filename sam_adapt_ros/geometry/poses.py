"""Poses over time, and the tree of coordinate frames that they connect (the role of tf2's buffer, without ROS)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from itertools import pairwise

import numpy as np

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.transforms import Transform, interpolate, invert, is_rotation

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


class TransformTree:
    """The coordinate frames and the transforms between them over time. Thread-safe.

    TF messages, odometry and calibration files all feed it. A leading slash in a frame's name makes no difference.
    A frame may have several parents, such as ``odom`` and ``map``.
    """

    def __init__(self) -> None:
        self._edges: dict[tuple[str, str], Transform | PoseBuffer] = {}  # (parent, child) -> T_parent_child
        self._neighbours: dict[str, list[str]] = {}
        self._paths: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = threading.RLock()

    def add(self, parent: str, child: str, stamp_ns: int, T: Transform, static: bool = False) -> None:
        """Keeps ``T_parent_child`` (4, 4): at all times when static, else at the stamp.

        An edge is what was last added: a static edge that is added with a stamp becomes a moving one, and vice versa.
        Raises CalibrationError when a name is empty, both are the same, or T is not a rigid transform.
        """
        parent, child = _without_slash(parent), _without_slash(child)
        if not parent or not child or parent == child:
            raise CalibrationError(f"transform {parent!r} -> {child!r}: two different frame names expected")
        T = np.array(T, np.float64)
        if T.shape != (4, 4) or not np.isfinite(T).all() or not is_rotation(T[:3, :3]):
            raise CalibrationError(f"transform {parent!r} -> {child!r}: rigid (4, 4) expected, got {T.tolist()}")
        with self._lock:
            edge = self._edges.get((parent, child))
            if edge is None:
                self._connect(parent, child)
            if static:
                self._edges[parent, child] = T
                return
            if not isinstance(edge, PoseBuffer):
                edge = self._edges[parent, child] = PoseBuffer()
        edge.add(stamp_ns, T)

    def lookup(self, target: str, source: str, stamp_ns: int, max_extrapolation_s: float = 0.0) -> Transform:
        """``T_target_source`` (4, 4) at a stamp.

        Raises CalibrationError that names the frames; its reason is ``transform_missing``, ``transform_early`` or
        ``transform_late``.
        """
        T = np.eye(4)  # T_here_source
        for here, there in pairwise(self._path(_without_slash(source), _without_slash(target))):
            with self._lock:
                upward = (there, here) in self._edges
                edge = self._edges[there, here] if upward else self._edges[here, there]
            if isinstance(edge, PoseBuffer):
                try:
                    edge = edge.lookup(stamp_ns, max_extrapolation_s)
                except CalibrationError as error:
                    parent, child = (there, here) if upward else (here, there)
                    raise CalibrationError(f"transform {parent} <- {child}: {error}", reason=error.reason) from None
            T = (edge if upward else invert(edge)) @ T
        return T

    def lookup_full(
        self,
        target: str,
        target_stamp_ns: int,
        source: str,
        source_stamp_ns: int,
        fixed: str,
        max_extrapolation_s: float = 0.0,
    ) -> Transform:
        """``T_target_source`` (4, 4) from source at its stamp, through the fixed frame, to target at its stamp.

        This compensates the motion between the two stamps (tf2's ``lookupTransform`` in its form with two times).
        Raises CalibrationError as ``lookup``.
        """
        T_fixed_source = self.lookup(fixed, source, source_stamp_ns, max_extrapolation_s)
        return invert(self.lookup(fixed, target, target_stamp_ns, max_extrapolation_s)) @ T_fixed_source

    def frames(self) -> tuple[str, ...]:
        """The names of all known frames."""
        with self._lock:
            return tuple(self._neighbours)

    def fixed_above(self, frame: str) -> str | None:
        """The topmost ancestor of ``frame``, when a transform on the way up to it is a moving one; else None."""
        with self._lock:
            parents = {child: parent for parent, child in self._edges}
            here, moving, seen = _without_slash(frame), False, set()
            while here in parents and here not in seen:
                seen.add(here)
                moving |= isinstance(self._edges[parents[here], here], PoseBuffer)
                here = parents[here]
            return here if moving else None

    def _connect(self, parent: str, child: str) -> None:
        for a, b in ((parent, child), (child, parent)):
            neighbours = self._neighbours.setdefault(a, [])
            if b not in neighbours:
                neighbours.append(b)
        self._paths.clear()

    def _path(self, source: str, target: str) -> tuple[str, ...]:
        """The frames from source to target over the fewest edges, by breadth-first search."""
        with self._lock:
            if (source, target) in self._paths:
                return self._paths[source, target]
            for name in (source, target):
                if name not in self._neighbours:
                    known = ", ".join(self._neighbours) or "none"
                    raise CalibrationError(f"frame {name!r} is unknown (known: {known})", reason="transform_missing")
            paths: dict[str, tuple[str, ...]] = {source: (source,)}
            queue = deque([source])
            while queue:
                here = queue.popleft()
                for there in self._neighbours[here]:
                    if there not in paths:
                        paths[there] = (*paths[here], there)
                        queue.append(there)
            if target not in paths:
                raise CalibrationError(
                    f"frames {target!r} and {source!r} are not connected", reason="transform_missing"
                )
            return self._paths.setdefault((source, target), paths[target])


def _without_slash(frame: str) -> str:
    return frame.lstrip("/")
