"""Holds matched sweeps, in order, until the calibration and the poses that they need are known."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sam_adapt_ros.messages import Match

MAX_VAIN_WAITS = 3
"""After this many waits in vain for the same thing, sweeps wait for it no longer until it would have come in time."""

MAX_WAITING = 32
"""When more matches wait, the oldest goes on without what it lacks: they hold images."""


@dataclass(eq=False)
class _Waiting:
    match: Match
    deadline: int
    lacking: frozenset[str]


class CalibrationWait:
    """Topics arrive in any order: poses and CameraInfo may come after the images and sweeps that they belong to
    (``tf2_ros::MessageFilter`` solves the same problem).

    lacking: names of what a match lacks and that may yet come. A match waits while it lacks something that was not
    waited for in vain before, at most ``timeout_s``, and while no more than ``MAX_WAITING`` wait. What would have come
    in time, had a match waited, is waited for again; so messages that complete nothing, such as odometry of other
    frames, cost no time.
    output: called with the matches, in the order in which they were added.
    """

    def __init__(
        self, lacking: Callable[[Match], Collection[str]], timeout_s: float, output: Callable[[Match], None]
    ) -> None:
        self.timeout_s = timeout_s
        self._lacking, self._output = lacking, output
        self._waiting: deque[_Waiting] = deque()
        self._unwaited: deque[_Waiting] = deque()  # went on without something, before their deadlines
        self._vain_waits: Counter[str] = Counter()

    def add(self, match: Match, now_ns: int) -> None:
        """now_ns: on a steady clock, as in all methods."""
        self._forget(now_ns)
        self._waiting.append(_Waiting(match, now_ns + round(self.timeout_s * 1e9), frozenset()))
        self.poll(now_ns)

    def notify(self, now_ns: int) -> None:
        """A message came that may complete a match."""
        self._forget(now_ns)
        if self._unwaited:
            self._update(self._unwaited[0])
        self.poll(now_ns)

    def poll(self, now_ns: int) -> None:
        """Outputs what need not wait any longer. Call it at ``deadline()``."""
        while self._waiting:
            first = self._waiting[0]
            self._update(first)
            timed_out = now_ns >= first.deadline or len(self._waiting) > MAX_WAITING
            if not timed_out and any(self._vain_waits[name] < MAX_VAIN_WAITS for name in first.lacking):
                return
            if timed_out:
                self._vain_waits.update(first.lacking)
            elif first.lacking:
                self._unwaited.append(first)
            self._waiting.popleft()
            self._output(first.match)

    def deadline(self) -> int | None:
        """When the first match continues at the latest; None when none waits."""
        return self._waiting[0].deadline if self._waiting else None

    def clear(self) -> list[Match]:
        """Forgets and returns the matches that wait."""
        matches = [waiting.match for waiting in self._waiting]
        self._waiting.clear()
        self._unwaited.clear()
        return matches

    def _forget(self, now_ns: int) -> None:
        """What comes now would have been too late for those whose time is up; complete ones tell nothing more."""
        while self._unwaited and (now_ns > self._unwaited[0].deadline or not self._unwaited[0].lacking):
            self._unwaited.popleft()

    def _update(self, waiting: _Waiting) -> None:
        """What has come since is worth waiting for."""
        lacking = frozenset(self._lacking(waiting.match))
        for name in waiting.lacking - lacking:
            self._vain_waits[name] = 0
        waiting.lacking = lacking
