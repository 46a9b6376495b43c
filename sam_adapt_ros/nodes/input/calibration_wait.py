"""Holds matched sweeps, in order, until the calibration and the poses they need are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sam_adapt_ros.messages import Match
from sam_adapt_ros.nodes.input.message_filters import SimpleFilter

PATIENCE = 3
"""So many waits in vain, without a message in between that could have ended them, and there is no more waiting."""


class Gate(SimpleFilter):
    """Topics arrive in any order: poses and CameraInfo may come after the images and sweeps that they belong to.

    incomplete: whether something that a match lacks may yet come. A match waits while it is so, at most ``timeout_s``.
    Outputs the matches in the order they were added.
    """

    def __init__(self, incomplete: Callable[[Match], bool], timeout_s: float) -> None:
        super().__init__()
        self.timeout_s = timeout_s
        self._incomplete = incomplete
        self._waiting: deque[tuple[Match, int]] = deque()
        self._in_vain = 0

    def add(self, match: Match, now_ns: int) -> None:
        """now_ns: on a steady clock, as in all methods."""
        patient = self._in_vain < PATIENCE
        self._waiting.append((match, now_ns + round(patient * self.timeout_s * 1e9)))
        self.poll(now_ns)

    def news(self, now_ns: int) -> None:
        """Something came that may complete a match."""
        self._in_vain = 0
        self.poll(now_ns)

    def poll(self, now_ns: int) -> None:
        """Lets go of what need not wait any longer. Call it at ``deadline()``."""
        while self._waiting:
            match, deadline = self._waiting[0]
            if self._incomplete(match):
                if now_ns < deadline:
                    return
                self._in_vain += 1
            self._waiting.popleft()
            self.signalMessage(match)

    def deadline(self) -> int | None:
        """When the first match goes on at the latest; None when none waits."""
        return self._waiting[0][1] if self._waiting else None

    def clear(self) -> list[Match]:
        """Forgets and returns the matches that wait."""
        matches = [match for match, _ in self._waiting]
        self._waiting.clear()
        return matches
