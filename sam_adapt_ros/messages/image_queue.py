"""The images of one camera as the time synchronizer sees them: recent ones, their rate, and whether any come at all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from typing import Any, NamedTuple

from sam_adapt_ros.geometry.poses import SECOND

_KEPT_NS = SECOND // 2  # images this much older than the newest one are needed only by sweeps that already wait
_INTERVALS_KEPT = 16
_INTERVALS_NEEDED = 4  # to know the camera's period
_SHORTEST_INTERVAL = 0.75  # the next interval may be as short as this share of the shortest one kept
_SILENCE_INTERVALS = 3
_SILENCE_NS = SECOND  # while the period is unknown
_MISSES_UNTIL_SILENT = 3


class StampedImage(NamedTuple):
    """payload: whatever the caller handed in."""

    stamp_ns: int
    payload: Any


class ImageQueue:
    """Recent images of one camera, in the order of their stamps.

    tolerance_ns: an image matches a sweep when their stamps differ by at most this.
    max_backward_ns: a stamp that goes back further is a clock jump.
    capacity: how many images are kept at most.
    """

    def __init__(self, tolerance_ns: int, max_backward_ns: int, capacity: int) -> None:
        self._tolerance = tolerance_ns
        self._max_backward = max_backward_ns
        self._capacity = capacity
        self._images: list[StampedImage] = []
        self._newest: int | None = None  # of all that came, kept or not
        self._intervals: deque[int] = deque(maxlen=_INTERVALS_KEPT)

    def __len__(self) -> int:
        return len(self._images)

    def is_clock_jump(self, stamp_ns: int) -> bool:
        """Whether an image of this stamp would mean that the clock jumped back."""
        return self._newest is not None and stamp_ns < self._newest - self._max_backward

    def clear(self) -> None:
        """Removes every image; the known intervals stay."""
        self._images.clear()
        self._newest = None

    def add(self, stamp_ns: int, payload: Any, oldest_sweep_ns: int | None) -> bool:
        """Adds an image; returns False when there already is one of that stamp.

        oldest_sweep_ns: stamp of the oldest sweep that waits, whose images have to be kept; None: none waits.
        """
        place = bisect_left(self._images, stamp_ns, key=_stamp)
        if place < len(self._images) and self._images[place].stamp_ns == stamp_ns:
            return False
        self._images.insert(place, StampedImage(stamp_ns, payload))
        if self._newest is None or stamp_ns > self._newest:
            if self._newest is not None:
                self._intervals.append(stamp_ns - self._newest)
            self._newest = stamp_ns
        keep_from = self._newest - _KEPT_NS - self._tolerance
        if oldest_sweep_ns is not None:
            keep_from = min(keep_from, oldest_sweep_ns - self._tolerance)
        surplus = bisect_left(self._images, keep_from, key=_stamp)
        del self._images[: max(surplus, len(self._images) - self._capacity)]
        return True

    def nearest(self, sweep_ns: int) -> StampedImage | None:
        """The image nearest in time to a sweep (ties: the earlier one); None where none matches."""
        place = bisect_left(self._images, sweep_ns, key=_stamp)
        neighbours = self._images[max(place - 1, 0) : place + 1]
        nearest = min(neighbours, key=lambda image: abs(image.stamp_ns - sweep_ns), default=None)
        return nearest if nearest is not None and self.matches(nearest.stamp_ns, sweep_ns) else None

    def matches(self, stamp_ns: int, sweep_ns: int) -> bool:
        """Whether an image of this stamp is within the tolerance of a sweep."""
        return abs(stamp_ns - sweep_ns) <= self._tolerance

    def may_improve(self, sweep_ns: int) -> bool:
        """Whether an image that is yet to come could be nearer to a sweep than the nearest one so far.

        The images of one camera come in order, so after one at or after the sweep's stamp none can be nearer.
        Before that, the camera's period predicts the next stamp.
        """
        if self._newest is None:
            return True
        if self._newest >= sweep_ns:
            return False
        if len(self._intervals) < _INTERVALS_NEEDED:
            return True
        next_stamp = self._newest + int(_SHORTEST_INTERVAL * min(self._intervals))
        nearest = self.nearest(sweep_ns)
        if nearest is None:
            return next_stamp <= sweep_ns + self._tolerance
        return next_stamp - sweep_ns < sweep_ns - nearest.stamp_ns

    def silence_ns(self) -> int:
        """How long a gap between images means that the camera is silent, in nanoseconds."""
        if len(self._intervals) < _INTERVALS_NEEDED:
            return _SILENCE_NS
        return _SILENCE_INTERVALS * sorted(self._intervals)[len(self._intervals) // 2]

    def remove_before(self, sweep_ns: int) -> None:
        """Removes the images that are too old for any sweep after this one.

        Images after a clock jump back look old to a sweep before the jump, and are kept.
        """
        if self._newest is None or self._newest < sweep_ns - self._max_backward:
            return
        del self._images[: bisect_left(self._images, sweep_ns - self._tolerance, key=_stamp)]

    def remove_after(self, stamp_ns: int) -> None:
        """Removes the images from before a clock jump back: those later than this stamp."""
        del self._images[bisect_right(self._images, stamp_ns, key=_stamp) :]
        if self._newest is not None and self._newest > stamp_ns:
            self._newest = self._images[-1].stamp_ns if self._images else None


class CameraLiveness:
    """Whether sweeps should wait for a camera.

    silent: several sweeps timed out waiting for it, and for long no image came in time. Times are arrival times.
    """

    def __init__(self) -> None:
        self.silent = False
        self._misses = 0
        self._last_ns: int | None = None  # arrival of the last image that was in time

    def image_in_time(self, now_ns: int) -> None:
        """An image arrived in time for its sweep, or would have been in time if the sweep had waited."""
        self._last_ns = now_ns
        self.matched()

    def matched(self) -> None:
        """A sweep got an image of the camera."""
        self.silent, self._misses = False, 0

    def timed_out(self, now_ns: int, silence_ns: int) -> bool:
        """A sweep waited in vain until its time-out. Returns whether the camera thereby becomes silent."""
        self._misses += 1
        gap = self._last_ns is None or now_ns - self._last_ns > silence_ns
        becomes_silent = not self.silent and self._misses >= _MISSES_UNTIL_SILENT and gap
        self.silent |= becomes_silent
        return becomes_silent


def _stamp(image: StampedImage) -> int:
    return image.stamp_ns
