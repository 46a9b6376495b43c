"""Why the images of a camera belong to no sweep: another clock, a narrow tolerance, late or unstamped; in words."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sam_adapt_ros.geometry.poses import SECOND

WINDOW = 20
"""Sweeps that are looked back on."""
ENOUGH = 10
"""As many sweeps and images are needed, before the end, to say that they do not match."""
_RECENT = 16  # images
_FAR_NS = SECOND  # stamps further apart than this are of two clocks, or of images that come very late
_KNOWN_OFFSETS = {37.0: "TAI, the time of PTP, is 37 s ahead of UTC", 18.0: "GPS time is 18 s ahead of UTC"}
_CLOCKS_S = 0.25  # how well the offset of two clocks is known without matching stamps
_DAY_S = 86_400.0


@dataclass(eq=False)
class _Sweep:
    """A sweep, and what is known of the camera's images around it.

    images, unstamped: how many came since the sweep before. offset_ns: of the nearest image's stamp to the sweep's.
    late_ns: how long after the sweep an image arrived that would have matched it.
    """

    stamp_ns: int
    arrival_ns: int
    matched: bool
    images: int
    unstamped: int
    offset_ns: int | None = None
    late_ns: int | None = None


class _Image(NamedTuple):
    stamp_ns: int
    arrival_ns: int


class CameraTiming:
    """Watches how the images of one camera lie to the sweeps, and says what is wrong where most do not match.

    tolerance_ns: an image matches a sweep when their stamps differ by at most this. time_offset: the camera's, in
    seconds, which the stamps given here contain.
    """

    def __init__(self, camera: str, tolerance_ns: int, time_offset: float) -> None:
        self._camera, self._tolerance, self._time_offset = camera, tolerance_ns, time_offset
        self._recent: deque[_Image] = deque(maxlen=_RECENT)
        self._sweeps: deque[_Sweep] = deque(maxlen=WINDOW)
        self._missed: deque[_Sweep] = deque(maxlen=16 * WINDOW)
        self._images = self._unstamped = 0  # since the last sweep
        self._last_image_ns: int | None = None  # arrival
        self._totals = _Totals()

    def add_image(self, stamp_ns: int, now_ns: int) -> None:
        """Takes an image that arrived at ``now_ns``; stamp 0: it has none."""
        self._images += 1
        self._last_image_ns = now_ns
        if stamp_ns == 0:
            self._unstamped += 1
            return
        if self._recent and abs(stamp_ns - self._recent[-1].stamp_ns) > _FAR_NS:
            self._recent.clear()  # the camera's clock was set
        self._recent.append(_Image(stamp_ns, now_ns))
        for sweep in self._sweeps:
            offset = stamp_ns - sweep.stamp_ns
            if sweep.matched or abs(offset) > _FAR_NS:
                continue
            if sweep.offset_ns is None or abs(offset) < abs(sweep.offset_ns):
                sweep.offset_ns = offset
            if sweep.late_ns is None and abs(offset) <= self._tolerance:
                sweep.late_ns = now_ns - sweep.arrival_ns

    def add_sweep(self, stamp_ns: int, arrival_ns: int, matched: bool) -> None:
        """Takes a sweep that was matched with an image of the camera, or without."""
        sweep = _Sweep(stamp_ns, arrival_ns, matched, self._images, self._unstamped)
        self._images = self._unstamped = 0
        self._sweeps.append(sweep)
        self._totals.add(sweep)
        if not matched:
            self._missed.append(sweep)
            if self._recent:
                sweep.offset_ns = self._offset(stamp_ns, arrival_ns)

    def start_anew(self) -> None:
        """The stamps have jumped back: what was before tells nothing about what comes."""
        self._recent.clear()
        self._sweeps.clear()

    def problem(self, silence_ns: int) -> str:
        """What is wrong at present, and what to set; "" when nothing is, or too little came to tell.

        silence_ns: a gap between images that is longer means that the camera sends none any more.
        """
        sweeps = self._sweeps
        if len(sweeps) == WINDOW and self._last_image_ns is not None:
            gap_ns = sweeps[-1].arrival_ns - self._last_image_ns
            if gap_ns > silence_ns and not any(sweep.images or sweep.matched for sweep in sweeps):
                return (
                    f"camera {self._camera}: its images have stopped, none came with the last {WINDOW} sweeps, which "
                    "are labelled without it: check the driver"
                )
        totals = _Totals()
        for sweep in sweeps:
            totals.add(sweep)
        return self._mismatch(totals, [sweep for sweep in sweeps if not sweep.matched], ENOUGH)

    def conclusion(self) -> str:
        """As ``problem``, of all that came, however little it was."""
        return self._mismatch(self._totals, self._missed, 1)

    def _offset(self, stamp_ns: int, arrival_ns: int) -> int:
        """Of the image of the nearest stamp; where all are far away, of the one that came at the same time."""
        nearest = min((image.stamp_ns - stamp_ns for image in self._recent), key=abs)
        if abs(nearest) <= _FAR_NS:
            return nearest
        return min(self._recent, key=lambda image: abs(image.arrival_ns - arrival_ns)).stamp_ns - stamp_ns

    def _mismatch(self, totals: _Totals, missed: Iterable[_Sweep], enough: int) -> str:
        possible = min(totals.sweeps, totals.images)
        if possible < enough or 2 * totals.matched >= possible:
            return ""
        share = f"only {totals.matched}" if totals.matched else "none"
        start = f"camera {self._camera}: {share} of {totals.sweeps} sweeps could be given an image of it; "
        if 2 * totals.unstamped > totals.images:
            return start + f"{totals.unstamped} of its images have the stamp 0: its driver has to stamp them"
        late = [sweep.late_ns for sweep in missed if sweep.late_ns is not None]
        if 2 * len(late) > totals.sweeps - totals.matched:
            seconds = float(np.median(late)) / SECOND
            return start + (
                f"its images come {seconds * 1e3:.0f} ms (median) after their sweep: raise sync.camera_timeout to "
                f"{_rounded_up(max(late) / SECOND):g}"
            )
        offsets = np.array([sweep.offset_ns for sweep in missed if sweep.offset_ns is not None], np.float64) / SECOND
        return start + self._offset_words(offsets) if len(offsets) else ""

    def _offset_words(self, offsets: np.ndarray) -> str:
        """offsets: (N,) seconds."""
        median = float(np.median(offsets))
        side = "behind" if median < 0 else "ahead of"
        offset = f"cameras.{self._camera}.time_offset"
        if abs(median) > _FAR_NS / SECOND:
            known = [(s, why) for s, why in _KNOWN_OFFSETS.items() if abs(abs(median) - s) < _CLOCKS_S]
            if abs(median) > _DAY_S:
                remedy = "let its driver stamp with the clock of the LiDAR's"
            else:
                seconds = math.copysign(known[0][0], median) if known else median
                remedy = f"synchronize the clocks, or set {offset} to {self._time_offset - seconds:.3f}"
            why = f" ({known[0][1]})" if known else ""
            return f"its stamps are of another clock, {abs(median):.3f} s {side} the sweeps'{why}: {remedy}"
        tolerance = f"sync.camera_tolerance is {self._tolerance / SECOND * 1e3:g} ms"
        words = f"its nearest images are {abs(median) * 1e3:.1f} ms (median) {side} them, and {tolerance}: "
        needed = float(np.percentile(np.abs(offsets), 90))
        if needed > _FAR_NS / SECOND:
            return f"{words}its clock jumps, by up to {np.abs(offsets).max():.3f} s: mend its driver's stamps"
        remedy = f"raise it to {_rounded_up(needed):g}"
        if np.abs(offsets - median).max() <= self._tolerance / SECOND:
            remedy += f" or, where the camera's clock is off, set {offset} to {self._time_offset - median:.4f}"
        return words + remedy


@dataclass
class _Totals:
    sweeps: int = 0
    matched: int = 0
    images: int = 0
    unstamped: int = 0

    def add(self, sweep: _Sweep) -> None:
        self.sweeps += 1
        self.matched += sweep.matched
        self.images += sweep.images
        self.unstamped += sweep.unstamped


def _rounded_up(seconds: float) -> float:
    """To the next 10 ms."""
    return math.ceil(seconds * 100 + 1e-6) / 100
