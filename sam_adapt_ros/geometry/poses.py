"""Where things were when: interpolated poses, and the tree of frames they span. The one place that knows about time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from itertools import pairwise

import numpy as np

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.transforms import Transform, interpolate, invert

SECOND = 1_000_000_000


class PoseBuffer:
    """Poses of one frame in another over the last seconds. Thread-safe.

    max_age_s: poses older than the newest by more than this are forgotten (None: never).
    capacity: at most so many are kept, the newest (None: any number).
    max_backward_s: a stamp that goes back further than this is a looping bag or a clock jump: the buffer starts anew.
        Less far, poses may come in any order; a second pose of the same stamp replaces the first.
    """

    def __init__(
        self, max_age_s: float | None = 10.0, capacity: int | None = None, max_backward_s: float | None = 1.0
    ) -> None:
        self._max_age_ns = None if max_age_s is None else round(max_age_s * SECOND)
        self._max_backward_ns = None if max_backward_s is None else round(max_backward_s * SECOND)
        self._capacity = capacity
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
            place = len(stamps) if not stamps or stamp_ns > stamps[-1] else bisect_left(stamps, stamp_ns)
            if place < len(stamps) and stamps[place] == stamp_ns:
                poses[place] = T
                return
            stamps.insert(place, stamp_ns)
            poses.insert(place, T)
            surplus = 0
            if self._max_age_ns is not None:
                surplus = bisect_left(stamps, stamps[-1] - self._max_age_ns)
            if self._capacity is not None:
                surplus = max(surplus, len(stamps) - self._capacity)
            del stamps[:surplus], poses[:surplus]

    def lookup(self, stamp_ns: int, max_extrapolation_s: float = 0.0) -> Transform:
        """The pose (4, 4) at a stamp, between its neighbours: linear in translation, slerp in rotation.

        max_extrapolation_s: how far outside the known span constant velocity is trusted.

        Raises CalibrationError, reason ``transform_missing`` (nothing known), ``transform_early`` (before the first
        pose) or ``transform_late`` (after the last one, which may yet come).
        """
        with self._lock:
            stamps, poses = self._stamps, self._poses
            if not stamps:
                raise CalibrationError("no pose known", reason="transform_missing")
            after = bisect_left(stamps, stamp_ns)
            if after < len(stamps) and stamps[after] == stamp_ns:
                return poses[after].copy()
            if after == 0:
                known, outside, reason = 0, stamps[0] - stamp_ns, "transform_early"
            elif after == len(stamps):
                known, outside, reason = after - 1, stamp_ns - stamps[-1], "transform_late"
            else:
                a, b = after - 1, after
                return interpolate(poses[a], poses[b], (stamp_ns - stamps[a]) / (stamps[b] - stamps[a]))
            if outside > max_extrapolation_s * SECOND or len(stamps) < 2:
                side = "before the first" if known == 0 else "after the last"
                raise CalibrationError(
                    f"stamp {stamp_ns} is {outside / SECOND:.3f} s {side} of {len(stamps)} poses "
                    f"(at most {max_extrapolation_s} s and two poses are needed to extrapolate)",
                    reason=reason,
                )
            other = self._far_enough(known, outside)
            fraction = (stamp_ns - stamps[other]) / (stamps[known] - stamps[other])
            return interpolate(poses[other], poses[known], fraction)

    def clear(self) -> None:
        with self._lock:
            self._stamps.clear()
            self._poses.clear()

    def _far_enough(self, known: int, outside: int) -> int:
        """The pose to take the velocity from, with the outermost one: at least as far from it as is extrapolated, so
        that the poses' errors do not grow, however close together the last ones are."""
        stamps, baseline = self._stamps, outside
        if known == 0:
            return min(max(1, bisect_left(stamps, stamps[0] + baseline)), len(stamps) - 1)
        return max(min(bisect_left(stamps, stamps[-1] - baseline + 1) - 1, len(stamps) - 2), 0)


class TransformTree:
    """Frames and how they lie to each other over time. Thread-safe.

    Fed by TF messages, odometry and calibration files alike. A leading slash in a frame's name makes no difference.
    """

    def __init__(self, max_age_s: float | None = 10.0, max_backward_s: float | None = 1.0) -> None:
        self._max_age_s = max_age_s
        self._max_backward_s = max_backward_s
        self._edges: dict[tuple[str, str], Transform | PoseBuffer] = {}  # (parent, child) -> T_parent_child
        self._neighbours: dict[str, list[str]] = {}
        self._paths: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = threading.RLock()

    def add(self, parent: str, child: str, stamp_ns: int, T: Transform, static: bool = False) -> None:
        """Keeps ``T_parent_child`` (4, 4): for all time when static, else at the stamp.

        What was last said of an edge holds: a static edge that is sent at a stamp becomes a moving one, and back.
        Raises CalibrationError when a frame is named "" or is its own parent, or T is not a rigid transform.
        """
        parent, child = _plain(parent), _plain(child)
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
                edge = self._edges[parent, child] = PoseBuffer(self._max_age_s, None, self._max_backward_s)
        edge.add(stamp_ns, T)

    def lookup(self, target: str, source: str, stamp_ns: int, max_extrapolation_s: float = 0.0) -> Transform:
        """``T_target_source`` (4, 4) at a stamp.

        Raises CalibrationError that names the frames; its reason is ``transform_missing``, ``transform_early`` or
        ``transform_late``.
        """
        path = self._path(_plain(source), _plain(target))
        T = np.eye(4)  # T_here_source
        for here, there in pairwise(path):
            with self._lock:
                edge = self._edges.get((there, here))
                forward = edge is not None
                if edge is None:
                    edge = self._edges[here, there]
            if isinstance(edge, PoseBuffer):
                try:
                    T_edge = edge.lookup(stamp_ns, max_extrapolation_s)
                except CalibrationError as error:
                    names = f"{there} <- {here}" if forward else f"{here} <- {there}"
                    raise CalibrationError(f"transform {names}: {error}", reason=error.reason) from None
            else:
                T_edge = edge
            T = (T_edge if forward else invert(T_edge)) @ T
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

        This undoes the motion between the two stamps (tf2's two-time look-up). Raises as ``lookup``.
        """
        T_fixed_source = self.lookup(fixed, source, source_stamp_ns, max_extrapolation_s)
        return invert(self.lookup(fixed, target, target_stamp_ns, max_extrapolation_s)) @ T_fixed_source

    def frames(self) -> tuple[str, ...]:
        """All frames known."""
        with self._lock:
            return tuple(self._neighbours)

    def fixed_above(self, frame: str) -> str | None:
        """The topmost frame above ``frame``, when something on the way up to it moves; None otherwise."""
        with self._lock:
            parents = {child: parent for parent, child in self._edges}
            here, moving, seen = _plain(frame), False, set()
            while here in parents and here not in seen:
                seen.add(here)
                moving |= isinstance(self._edges[parents[here], here], PoseBuffer)
                here = parents[here]
            return here if moving else None

    def clear_motion(self) -> None:
        """Forgets every moving pose, as after a clock jump; static edges stay."""
        with self._lock:
            buffers = [edge for edge in self._edges.values() if isinstance(edge, PoseBuffer)]
        for buffer in buffers:
            buffer.clear()

    def _connect(self, parent: str, child: str) -> None:
        for a, b in ((parent, child), (child, parent)):
            neighbours = self._neighbours.setdefault(a, [])
            if b not in neighbours:
                neighbours.append(b)
        self._paths.clear()

    def _path(self, source: str, target: str) -> tuple[str, ...]:
        """The fewest edges from source to target. (A frame may have two parents, e.g. odom and map: no flapping.)"""
        with self._lock:
            if (source, target) in self._paths:
                return self._paths[source, target]
            for name in (source, target):
                if name not in self._neighbours:
                    known = ", ".join(self._neighbours) or "none"
                    raise CalibrationError(f"frame {name!r} is unknown (known: {known})", reason="transform_missing")
            came_from: dict[str, str] = {source: source}
            queue = deque([source])
            while queue and target not in came_from:
                here = queue.popleft()
                for there in self._neighbours[here]:
                    if there not in came_from:
                        came_from[there] = here
                        queue.append(there)
            if target not in came_from:
                raise CalibrationError(
                    f"frames {target!r} and {source!r} are not connected", reason="transform_missing"
                )
            path = [target]
            while path[-1] != source:
                path.append(came_from[path[-1]])
            return self._paths.setdefault((source, target), tuple(reversed(path)))


def is_rotation(R: np.ndarray, tolerance: float = 1e-3) -> bool:
    """Whether a (3, 3) matrix is a rotation, up to what rounding in text files does to one."""
    return bool(np.abs(R @ R.T - np.eye(3)).max() < tolerance and np.linalg.det(R) > 0)


def _plain(frame: str) -> str:
    return frame.lstrip("/")
