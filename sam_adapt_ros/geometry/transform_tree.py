"""The tree of coordinate frames and the transforms between them over time (the role of tf2's buffer, without ROS)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.poses import SECOND, PoseBuffer
from sam_adapt_ros.geometry.transforms import Transform, invert, is_rotation

MAX_EDGES = 2000
"""So many transforms between frames are kept."""
_LISTED = 20  # frames, in an error
_ALIVE_NS = SECOND
"""A frame that had a pose under a second parent so recently has both."""


class TransformTree:
    """The coordinate frames and the transforms between them over time. Thread-safe.

    TF messages, odometry and calibration files all feed it. A leading slash in a frame's name makes no difference.
    A frame hangs at the parent that was last named, as in tf2, and where it had another one at a stamp, at that. Unlike
    in tf2 it keeps two parents that are both published, such as ``odom`` and ``map``, so that look-ups do not flap.
    """

    def __init__(self) -> None:
        self._edges: dict[tuple[str, str], Transform | PoseBuffer] = {}  # (parent, child) -> T_parent_child
        self._parents: dict[str, list[str]] = {}  # of each child, the newest last
        self._paths: dict[tuple[str, str], tuple[str, ...]] = {}
        self._lock = threading.RLock()

    def add(self, parent: str, child: str, stamp_ns: int, T: Transform, static: bool = False) -> None:
        """Keeps ``T_parent_child`` (4, 4): at all times when static, else at the stamp.

        An edge is what was last added: a static edge that is added with a stamp becomes a moving one, and vice versa.
        Raises CalibrationError when a name is empty, both are the same, or T is not a rigid transform.
        """
        parent, child = check_names(parent, child)
        T = np.array(T, np.float64)
        if T.shape != (4, 4) or not np.isfinite(T).all() or not is_rotation(T[:3, :3]):
            raise CalibrationError(f"transform {parent!r} -> {child!r}: rigid (4, 4) expected, got {T.tolist()}")
        with self._lock:
            if (parent, child) not in self._edges and len(self._edges) >= MAX_EDGES:
                raise CalibrationError(
                    f"transform {parent!r} -> {child!r}: there are {MAX_EDGES} others already, as when a publisher "
                    "makes up new frame names"
                )
            parents = self._parents.setdefault(child, [])
            new = parent not in parents
            if parents[-1:] != [parent]:
                parents[:] = [*(other for other in parents if other != parent), parent]
                self._paths.clear()
            for other in parents[:-1]:
                if _gives_way(self._edges[other, child], new if static else None, stamp_ns):
                    self.remove(other, child)
            edge = self._edges.get((parent, child))
            if static:
                self._edges[parent, child] = T
                return
            if not isinstance(edge, PoseBuffer):
                edge = self._edges[parent, child] = PoseBuffer()
        edge.add(stamp_ns, T)

    def remove(self, parent: str, child: str) -> None:
        """Forgets the transforms from one frame to another, if there are any."""
        parent, child = _without_slash(parent), _without_slash(child)
        with self._lock:
            if self._edges.pop((parent, child), None) is not None:
                self._parents[child].remove(parent)
                if not self._parents[child]:
                    del self._parents[child]
                self._paths.clear()

    def lookup(self, target: str, source: str, stamp_ns: int, max_extrapolation_s: float = 0.0) -> Transform:
        """``T_target_source`` (4, 4) at a stamp.

        Raises CalibrationError that names the frames; its reason is ``transform_missing``, ``transform_early`` or
        ``transform_late``.
        """
        T = np.eye(4)  # T_here_source
        for parent, child, edge, upward in self._way(source, target, stamp_ns):
            if isinstance(edge, PoseBuffer):
                try:
                    edge = edge.lookup(stamp_ns, max_extrapolation_s)
                except CalibrationError as error:
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

    def seconds_outside(self, target: str, source: str, stamp_ns: int) -> float:
        """How far a stamp lies outside the known poses between two frames, which are extrapolated by as much; 0 within.

        Raises CalibrationError, reason ``transform_missing``, when the frames are not connected.
        """
        outside = 0
        for _, _, edge, _ in self._way(source, target, stamp_ns):
            if isinstance(edge, PoseBuffer) and (span := edge.span()) is not None:
                outside = max(outside, span[0] - stamp_ns, stamp_ns - span[1])
        return outside / SECOND

    def frames(self) -> tuple[str, ...]:
        """The names of all known frames."""
        with self._lock:
            return tuple(self._neighbours())

    def connected(self, a: str, b: str) -> bool:
        """Whether both frames are known and transforms lead from one to the other."""
        try:
            self._shortest_path(_without_slash(a), _without_slash(b))
        except CalibrationError:
            return False
        return True

    def fixed_above(self, frame: str) -> str | None:
        """The topmost ancestor of ``frame``, when a transform on the way up to it is a moving one; else None."""
        with self._lock:
            chain = self._ancestors(_without_slash(frame))
            moving = any(isinstance(self._edges[parent, child], PoseBuffer) for child, parent in pairwise(chain))
            return chain[-1] if moving else None

    def fixed_to(self, frame: str) -> tuple[tuple[str, ...], Transform]:
        """``frame`` and those above it that static transforms fix it to, the topmost last; ``T_top_frame`` (4, 4)."""
        with self._lock:
            frames, T = [_without_slash(frame)], np.eye(4)
            for child, parent in pairwise(self._ancestors(frames[0])):
                edge = self._edges[parent, child]
                if isinstance(edge, PoseBuffer):
                    break
                frames.append(parent)
                T = edge @ T
            return tuple(frames), T

    def moves_in(self, frame: str, other: str) -> bool:
        """Whether ``other`` is an ancestor of ``frame``, and a transform on the way up to it is a moving one."""
        other = _without_slash(other)
        with self._lock:
            above, seen = [(_without_slash(frame), False)], set[tuple[str, bool]]()
            while above:
                here, moving = above.pop()
                if here == other and moving:
                    return True
                if (here, moving) not in seen:
                    seen.add((here, moving))
                    edges = [(parent, self._edges[parent, here]) for parent in self._parents.get(here, ())]
                    above += [(parent, moving or isinstance(edge, PoseBuffer)) for parent, edge in edges]
            return False

    def _way(self, source: str, target: str, stamp_ns: int) -> list[tuple[str, str, Transform | PoseBuffer, bool]]:
        """The edges from source to target, as (parent, child, edge, whether it is walked from child to parent)."""
        source, target = _without_slash(source), _without_slash(target)
        with self._lock:
            up, down = self._ancestors(source, stamp_ns), self._ancestors(target, stamp_ns)
            meeting = next((frame for frame in up if frame in down), None)
            if meeting is not None and (source != target or source in self._neighbours()):
                path = (*up[: up.index(meeting)], *reversed(down[: down.index(meeting) + 1]))
            else:  # frames with several parents
                path = self._shortest_path(source, target)
            way = []
            for here, there in pairwise(path):
                upward = (there, here) in self._edges
                parent, child = (there, here) if upward else (here, there)
                way.append((parent, child, self._edges[parent, child], upward))
            return way

    def _ancestors(self, frame: str, stamp_ns: int | None = None) -> list[str]:
        """The frame and those above it, each the newest parent of the one before, or the one that had it at a stamp."""
        chain = [frame]
        while parents := self._parents.get(chain[-1]):
            child, parent = chain[-1], parents[-1]
            if stamp_ns is not None and len(parents) > 1:
                covering = (name for name in reversed(parents) if _covers(self._edges[name, child], stamp_ns))
                parent = next(covering, parent)
            if parent in chain:
                break
            chain.append(parent)
        return chain

    def _neighbours(self) -> dict[str, list[str]]:
        neighbours: dict[str, list[str]] = {}
        for parent, child in self._edges:
            neighbours.setdefault(parent, []).append(child)
            neighbours.setdefault(child, []).append(parent)
        return neighbours

    def _shortest_path(self, source: str, target: str) -> tuple[str, ...]:
        """The frames from source to target over the fewest edges."""
        with self._lock:
            if (source, target) in self._paths:
                return self._paths[source, target]
            neighbours = self._neighbours()
            for name in (source, target):
                if name not in neighbours:
                    known = _listed(list(neighbours)) or "none"
                    raise CalibrationError(f"frame {name!r} is unknown (known: {known})", reason="transform_missing")
            paths = _paths_from(source, neighbours)
            if target not in paths:
                with_target, with_source = (
                    _listed(list(found)[1:]) for found in (_paths_from(target, neighbours), paths)
                )
                raise CalibrationError(
                    f"frames {target!r} and {source!r} are not connected: {target!r} is connected with {with_target}, "
                    f"{source!r} with {with_source}",
                    reason="transform_missing",
                )
            return self._paths.setdefault((source, target), paths[target])


def check_names(parent: str, child: str) -> tuple[str, str]:
    """Both without leading slashes. Raises CalibrationError when one is empty or both are the same."""
    parent, child = _without_slash(parent), _without_slash(child)
    if not parent or not child or parent == child:
        raise CalibrationError(f"transform {parent!r} -> {child!r}: two different frame names expected")
    return parent, child


def _paths_from(source: str, neighbours: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """The shortest path to each frame that can be reached, by breadth-first search."""
    paths: dict[str, tuple[str, ...]] = {source: (source,)}
    queue = deque([source])
    while queue:
        here = queue.popleft()
        for there in neighbours[here]:
            if there not in paths:
                paths[there] = (*paths[here], there)
                queue.append(there)
    return paths


def _gives_way(edge: Transform | PoseBuffer, new_static: bool | None, stamp_ns: int) -> bool:
    """Whether the transform of a frame to an older parent ends, now that there is one to another parent.

    new_static: whether that one is static and was not there before; None: it is a moving one, with this stamp.
    """
    if not isinstance(edge, PoseBuffer):
        return True
    if new_static is not None:
        return new_static
    span = edge.span()
    return span is None or span[1] < stamp_ns - _ALIVE_NS


def _covers(edge: Transform | PoseBuffer, stamp_ns: int) -> bool:
    """Whether an edge is known at a stamp without extrapolation."""
    span = edge.span() if isinstance(edge, PoseBuffer) else (stamp_ns, stamp_ns)
    return span is not None and span[0] <= stamp_ns <= span[1]


def _listed(frames: Sequence[str]) -> str:
    more = len(frames) - _LISTED
    return ", ".join(frames[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _without_slash(frame: str) -> str:
    return frame.lstrip("/")
