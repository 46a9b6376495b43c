"""Holds matched sweeps, in order, until the calibration and the poses that they need are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sam_adapt_ros.messages import Match

MAX_VAIN_WAITS = 3
"""After this many waits that timed out, without a message in between that could end them, sweeps wait no longer."""


class CalibrationWait:
    """Topics arrive in any order: poses and CameraInfo may come after the images and sweeps that they belong to
    (``tf2_ros::MessageFilter`` solves the same problem).

    incomplete: whether something that a match lacks may yet come. A match waits while it is so, at most ``timeout_s``.
    output: called with the matches, in the order in which they were added.
    """

    def __init__(self, incomplete: Callable[[Match], bool], timeout_s: float, output: Callable[[Match], None]) -> None:
        self.timeout_s = timeout_s
        self._incomplete, self._output = incomplete, output
        self._waiting: deque[tuple[Match, int]] = deque()  # with their deadlines
        self._vain_waits = 0

    def add(self, match: Match, now_ns: int) -> None:
        """now_ns: on a steady clock, as in all methods."""
        timeout_s = self.timeout_s if self._vain_waits < MAX_VAIN_WAITS else 0.0
        self._waiting.append((match, now_ns + round(timeout_s * 1e9)))
        self.poll(now_ns)

    def notify(self, now_ns: int) -> None:
        """A message came that may complete a match."""
        self._vain_waits = 0
        self.poll(now_ns)

    def poll(self, now_ns: int) -> None:
        """Outputs what need not wait any longer. Call it at ``deadline()``."""
        while self._waiting:
            match, deadline = self._waiting[0]
            if self._incomplete(match):
                if now_ns < deadline:
                    return
                self._vain_waits += 1
            self._waiting.popleft()
            self._output(match)

    def deadline(self) -> int | None:
        """When the first match continues at the latest; None when none waits."""
        return self._waiting[0][1] if self._waiting else None

    def clear(self) -> list[Match]:
        """Forgets and returns the matches that wait."""
        matches = [match for match, _ in self._waiting]
        self._waiting.clear()
        return matches
