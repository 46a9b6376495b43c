"""One camera on the time line, for the synchronizer: its images, its rhythm, whether it is there at all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from typing import Any, NamedTuple

_HORIZON_NS = 500_000_000  # images this much older than the newest are kept for no sweep that is yet to come
_RHYTHM_LENGTH = 16  # intervals that the camera's rhythm is taken from
_RHYTHM_KNOWN = 4  # ... and how many there must be
_RHYTHM_MARGIN = 0.75  # the next interval may be this much of the shortest of them
_PATIENCE_INTERVALS = 3
_PATIENCE_NS = 1_000_000_000  # as long as the rhythm is unknown
_MISSES_UNTIL_SILENT = 3


class Image(NamedTuple):
    stamp_ns: int
    payload: Any


class ImageQueue:
    """Recent images of one camera, by stamp.

    tolerance_ns: an image belongs to a sweep when their stamps differ by no more.
    max_backward_ns: a stamp that goes back further is a clock jump.
    capacity: so many images are kept at most.
    """

    def __init__(self, tolerance_ns: int, max_backward_ns: int, capacity: int) -> None:
        self._tolerance = tolerance_ns
        self._max_backward = max_backward_ns
        self._capacity = capacity
        self._images: list[Image] = []
        self._newest: int | None = None  # of all that came, kept or not
        self._intervals: deque[int] = deque(maxlen=_RHYTHM_LENGTH)

    def __len__(self) -> int:
        return len(self._images)

    def jumps(self, stamp_ns: int) -> bool:
        """Whether such a stamp would mean that the clock jumped back."""
        return self._newest is not None and stamp_ns < self._newest - self._max_backward

    def start_anew(self) -> None:
        """Forgets every image; the rhythm stays."""
        self._images.clear()
        self._newest = None

    def add(self, stamp_ns: int, payload: Any, oldest_needed: int | None) -> bool:
        """Keeps an image; False when there is one of that stamp.

        oldest_needed: stamp of the oldest sweep that still waits, whose images must not be forgotten.
        """
        place = bisect_left(self._images, stamp_ns, key=_stamp)
        if place < len(self._images) and self._images[place].stamp_ns == stamp_ns:
            return False
        self._images.insert(place, Image(stamp_ns, payload))
        if self._newest is None or stamp_ns > self._newest:
            if self._newest is not None:
                self._intervals.append(stamp_ns - self._newest)
            self._newest = stamp_ns
        keep_from = self._newest - _HORIZON_NS - self._tolerance
        if oldest_needed is not None:
            keep_from = min(keep_from, oldest_needed - self._tolerance)
        surplus = bisect_left(self._images, keep_from, key=_stamp)
        del self._images[: max(surplus, len(self._images) - self._capacity)]
        return True

    def best(self, sweep_ns: int) -> Image | None:
        """The image nearest to a sweep (ties: the earlier one), if it belongs to it."""
        place = bisect_left(self._images, sweep_ns, key=_stamp)
        neighbours = self._images[max(place - 1, 0) : place + 1]
        nearest = min(neighbours, key=lambda image: abs(image.stamp_ns - sweep_ns), default=None)
        return nearest if nearest is not None and self.belongs(nearest.stamp_ns, sweep_ns) else None

    def belongs(self, stamp_ns: int, sweep_ns: int) -> bool:
        return abs(stamp_ns - sweep_ns) <= self._tolerance

    def may_improve(self, sweep_ns: int) -> bool:
        """Whether an image that is yet to come could be nearer to a sweep than the best so far.

        Images of one camera come in order, so one at or after the sweep's stamp settles it. Before that the camera's
        rhythm tells when the next one is due.
        """
        if self._newest is None:
            return True
        if self._newest >= sweep_ns:
            return False
        if len(self._intervals) < _RHYTHM_KNOWN:
            return True
        next_stamp = self._newest + int(_RHYTHM_MARGIN * min(self._intervals))
        best = self.best(sweep_ns)
        if best is None:
            return next_stamp <= sweep_ns + self._tolerance
        return next_stamp - sweep_ns < sweep_ns - best.stamp_ns

    def patience(self) -> int:
        """How long without an image is long for this camera, in nanoseconds."""
        if len(self._intervals) < _RHYTHM_KNOWN:
            return _PATIENCE_NS
        return _PATIENCE_INTERVALS * sorted(self._intervals)[len(self._intervals) // 2]

    def forget_before(self, sweep_ns: int) -> None:
        """Sweeps after this one are all that will be asked for: drops the images too old for them.

        Images of the time after a clock jump back look old to a sweep of the time before, and stay.
        """
        if self._newest is None or self._newest < sweep_ns - self._max_backward:
            return
        del self._images[: bisect_left(self._images, sweep_ns - self._tolerance, key=_stamp)]

    def forget_after(self, stamp_ns: int) -> None:
        """The clock jumped back to before this: drops the images of the time before the jump."""
        del self._images[bisect_right(self._images, stamp_ns, key=_stamp) :]
        if self._newest is not None and self._newest > stamp_ns:
            self._newest = self._images[-1].stamp_ns if self._images else None


class CameraLiveness:
    """Whether a camera is worth waiting for.

    It is silent once several sweeps waited in vain and for long no image came in time.
    """

    def __init__(self) -> None:
        self.silent = False
        self._misses = 0
        self._last_ns: int | None = None  # arrival of the last image that was in time

    def came(self, now_ns: int) -> None:
        """An image arrived that was in time for its sweep, or would have been had the sweep waited."""
        self._last_ns = now_ns
        self.served()

    def served(self) -> None:
        """A sweep found its image."""
        self.silent, self._misses = False, 0

    def missed(self, now_ns: int, patience_ns: int) -> bool:
        """A sweep waited its whole time in vain; True when the camera thereby falls silent."""
        self._misses += 1
        long = self._last_ns is None or now_ns - self._last_ns > patience_ns
        falls_silent = not self.silent and self._misses >= _MISSES_UNTIL_SILENT and long
        self.silent |= falls_silent
        return falls_silent


def _stamp(image: Image) -> int:
    return image.stamp_ns
