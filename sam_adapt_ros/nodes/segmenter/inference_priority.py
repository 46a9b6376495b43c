"""Who goes first inside the segmenter's process: frames. What can wait takes the time between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

LATELY_S = 2.0
"""When the last frame is longer ago, none is expected just now."""
_LOOK_S = 0.002


class RightOfWay:
    """One thread works on frames, another does what can wait.

    A low nice level alone would not do: both threads need Python's interpreter lock again and again, and whoever holds
    it may be the one of low priority. For the same reason there is no lock here: frames only take note of themselves,
    the others look.
    """

    def __init__(self) -> None:
        self._at_work = False
        self._done = 0
        self._done_at = float("-inf")

    @contextmanager
    def taken(self) -> Iterator[None]:
        """For as long as a frame is worked on."""
        self._at_work = True
        try:
            yield
        finally:
            self._done_at = time.monotonic()
            self._done += 1
            self._at_work = False

    def wait_for_gap(self, deadline: float) -> None:
        """Until a frame has just been done with, so that there is time before the next; not when none has come lately.

        deadline: on ``time.monotonic``, until when it waits.
        """
        if not self._at_work and time.monotonic() - self._done_at > LATELY_S:
            return
        before = self._done
        while self._done == before and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def give_way(self, deadline: float) -> None:
        """Until no frame is worked on. deadline: as above."""
        while self._at_work and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
