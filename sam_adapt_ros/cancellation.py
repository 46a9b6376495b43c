"""Cancelling long work: the one way in which a caller stops, or holds, what is being computed."""

from __future__ import annotations

import threading


class Cancelled(Exception):  # noqa: N818 (the request of a caller, no error)
    """Raised by ``CancellationToken.check`` once the work is to stop."""


class CancellationToken:
    """Handed to long work, which calls ``check`` between small pieces of it (a frame, a batch).

    ``cancel`` may be called from any thread and from a signal handler. A subclass may also hold the work in ``check``,
    to pause it or to leave the processor to others.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Stops the work at its next ``check``."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raises Cancelled once ``cancel`` has been called."""
        if self._cancelled.is_set():
            raise Cancelled


NEVER = CancellationToken()
"""For work that is never cancelled."""
