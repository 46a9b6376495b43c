"""Inference goes first inside the segmenter's process; loading weights uses the time between frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

RECENT_S = 2.0
"""When the last frame is longer ago, none is expected soon."""
_POLL_S = 0.002


class InferencePriority:
    """One thread works on frames, another on what can wait.

    A low nice level alone is not enough: both threads need Python's interpreter lock again and again, and the holder
    may be the one of low priority. For the same reason there is no lock here: the inference thread only sets fields,
    the other one polls them.
    """

    def __init__(self) -> None:
        self._busy = False
        self._frames = 0
        self._last_end = float("-inf")

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Entered by the inference thread for as long as it works on a frame."""
        self._busy = True
        try:
            yield
        finally:
            self._last_end = time.monotonic()
            self._frames += 1
            self._busy = False

    def wait_for_gap(self, deadline: float) -> None:
        """Waits until a frame has just ended, so that there is time before the next; not when none has come recently.

        deadline: on ``time.monotonic``, until when it waits at most.
        """
        if not self._busy and time.monotonic() - self._last_end > RECENT_S:
            return
        before = self._frames
        while self._frames == before and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def give_way(self, deadline: float) -> None:
        """Waits until no frame is worked on. deadline: as above."""
        while self._busy and time.monotonic() < deadline:
            time.sleep(_POLL_S)
