"""Frames and the labels predicted of them, that come on different topics in either order, brought together by stamp."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

F = TypeVar("F")
L = TypeVar("L")
T = TypeVar("T")

MAX_FRAMES = 16
"""Frames hold images: this bridges the time that the model takes, and a moment more."""
MAX_LABELS = 64
"""Labels are small, and may come long before an adapter that is kept off the processor gets to its frames."""


class Pairing(Generic[F, L]):
    """Calls ``on_pair(frame, labels)`` once both of a stamp are there, in the thread that brings the second.

    The newest wait, in the order they came in, whatever their stamps: a clock that jumps or a bag that loops cannot
    keep anything out. counts: ``paired``, and what waited in vain: ``frame_without_labels``, ``labels_without_frame``.
    """

    def __init__(
        self, on_pair: Callable[[F, L], None], max_frames: int = MAX_FRAMES, max_labels: int = MAX_LABELS
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._on_pair = on_pair
        self._frames: dict[int, F] = {}  # by stamp, in the order they came
        self._labels: dict[int, L] = {}
        self._max_frames, self._max_labels = max_frames, max_labels
        self._lock = threading.Lock()

    def add_frame(self, stamp_ns: int, frame: F) -> None:
        with self._lock:
            labels = self._labels.pop(stamp_ns, None)
            if labels is None:
                self.counts["frame_without_labels"] += _keep(self._frames, stamp_ns, frame, self._max_frames)
                return
            self.counts["paired"] += 1
        self._on_pair(frame, labels)

    def add_labels(self, stamp_ns: int, labels: L) -> None:
        with self._lock:
            frame = self._frames.pop(stamp_ns, None)
            if frame is None:
                self.counts["labels_without_frame"] += _keep(self._labels, stamp_ns, labels, self._max_labels)
                return
            self.counts["paired"] += 1
        self._on_pair(frame, labels)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many frames and how many labels wait."""
        with self._lock:
            return len(self._frames), len(self._labels)


def _keep(waiting: dict[int, T], stamp_ns: int, item: T, limit: int) -> int:
    """Adds an item as the newest; returns how many went for it: the one of the same stamp, the oldest of too many."""
    gone = int(waiting.pop(stamp_ns, None) is not None)
    waiting[stamp_ns] = item
    if len(waiting) > limit:
        del waiting[next(iter(waiting))]
        gone += 1
    return gone
