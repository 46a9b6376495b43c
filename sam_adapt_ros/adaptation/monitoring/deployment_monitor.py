"""Watches weights while they label the stream, and says when they must go.

What can be told without labels, and from what?

*While weights are new*, the frames just before the exchange and those just after it show the same street: what changes
at that very frame is the weights' doing. Medians over both sides are compared, and what is allowed is the larger of a
fixed tolerance and a few times how much the frames before differed among themselves. Driving on changes the scene a
little, too; the tolerances leave room for that. In the simulated town at 5 Hz the same weights lose, from 20 frames to
the next 10, up to 0.25 of the agreement of 2D and 3D on a night drive, where it scatters by 0.12, but never more than
0.03 of the confidence; none of 168 exchanges of good weights for themselves, by day, by night, in
another city and with another LiDAR, was taken for a fall.

*Later* weights do not change any more, so what changes then is the scene: nightfall alone halves the agreement of a day
model's branches, with weights that are as good as ever, and going back would not help. Hence only what no scene
explains counts: numbers that are not finite, one class everywhere, and agreement or confidence that fall through a
floor far below what these very weights showed while they were new.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.weight_store.version import version_number
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import RollbackConfig
from sam_adapt_ros.frame import IGNORE

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Prediction

PAUSE_S = 10.0
"""After so long without a frame the vehicle may be anywhere: new weights are not compared with what was before."""
State = Literal["unwatched", "trial", "guard", "fallen"]
_COMPARED = 16_384
# Medians after an exchange against those before: what good weights stay within, see above.
AGREEMENT_DROP = 0.2  # of the share of points on which 2D and 3D agree
CONFIDENCE_DROP = 0.07  # of the labels' mean probability
SPREAD = 3.0  # standard deviations among the frames before that are allowed if they are more than these drops
HISTOGRAM_SHIFT = 0.5  # share of the points that may change their class
MAX_SINGLE_CLASS_SHARE = 0.97  # of the points that may be of one class
# After the trial, as shares of what the weights showed in it.
AGREEMENT_FLOOR = 0.25  # nightfall leaves 0.48
CONFIDENCE_FLOOR = 0.6
_BRANCHES = {"most_image": Branch.IMAGE, "most_points": Branch.POINTS, "most_fused": Branch.FUSED}


@dataclass(frozen=True, eq=False)
class FrameBehaviour:
    """How weights behave on one frame. Shares and probabilities from 0 to 1; NaN where no point is to be counted.

    finite: no probability of any branch is infinite or not a number; all else is meaningless otherwise.
    Of points that a camera sees, agreement: share whose winning classes in 2D and 3D are the same; most_image,
        most_points: share of a branch's most frequent class.
    Of all points, confidence: mean probability of the label; most_fused: share of the most frequent label;
        histogram: (C,) shares of the labels.
    """

    finite: bool
    agreement: float
    confidence: float
    most_image: float
    most_points: float
    most_fused: float
    histogram: NDArray[np.float64]


def behaviour_of(prediction: Prediction) -> FrameBehaviour:
    """Takes about 1.2 ms for 35,000 points and 8 classes. Branches are compared on no more than 16,384 points."""
    labels, classes = prediction.labels, prediction.fused.shape[1]
    # A sum is finite only if all its terms are, and costs a tenth of looking at each.
    with np.errstate(invalid="ignore"):
        sums = [array.sum() for array in (prediction.probability, prediction.image, prediction.points)]
    counts = np.bincount(labels, minlength=IGNORE + 1)[:classes]
    count = int(counts.sum())
    seen = np.flatnonzero(prediction.seen)
    seen = seen[:: -(-len(seen) // _COMPARED) or 1]
    image, points = prediction.image[seen].argmax(1), prediction.points[seen].argmax(1)
    return FrameBehaviour(
        finite=bool(np.isfinite(sums).all()),
        agreement=float((image == points).mean()) if len(seen) else math.nan,
        confidence=float(sums[0]) / count if count else math.nan,
        most_image=_most(np.bincount(image)),
        most_points=_most(np.bincount(points)),
        most_fused=_most(counts),
        histogram=counts / max(count, 1),
    )


class Watch:
    """Told of every frame and of every change of weights, in one thread.

    state: ``unwatched`` (what is in use is the source: nothing to go back to), ``trial`` (new), ``guard`` (trusted,
    but for a collapse), ``fallen`` (must go; says so once).
    reason: why it fell, with numbers.
    """

    def __init__(self, config: RollbackConfig) -> None:
        self._config = config
        self.state: State = "unwatched"
        self.reason = ""
        self._frames: deque[FrameBehaviour] = deque(maxlen=config.window)
        self._before: list[FrameBehaviour] = []
        self._reference: list[FrameBehaviour] = []
        self._seen = 0
        self._version = ""
        self._last_frame_s = -math.inf

    def observe_prediction(self, prediction: Prediction, version: str, *, source: bool, now_s: float) -> str | None:
        """A frame of the stream, labelled by ``version``; returns the reason, once, when that must be rolled back.

        The one way in which a stream is monitored, live and offline: a change of versions begins a trial, and a pause
        of more than PAUSE_S ends the comparison with what was before. Takes about 1.5 ms.

        version: its name in the weight store, "" for weights that are in none. source: whether it is the source model.
        now_s: on the clock of the stream; where it goes back, as between two passes over a bag, that is a pause, too.
        """
        if version != self._version:
            newer = (version_number(version) or 0) > (version_number(self._version) or 0)
            self._version = version
            self.begin(source=source, newer=newer)
        if not 0 <= now_s - self._last_frame_s <= PAUSE_S:
            self.interrupted()
        self._last_frame_s = now_s
        return self.observe(behaviour_of(prediction))

    def begin(self, *, source: bool, newer: bool) -> None:
        """The frames that come now are of other weights.

        source: of the source model. newer: the weights are newer than those before, and are to be measured by them.
        Who goes back to older weights has a reason that those before would only hide: such weights are on trial for
        collapse alone.
        """
        if not newer or self.state == "fallen":
            self._before = []
        elif self.state != "trial":  # on the heels of another: measured by what has been trusted last
            self._before = list(self._frames)
        if len(self._before) < self._config.min_frames:
            self._before = []
        self.state, self.reason = ("unwatched" if source else "trial"), ""
        self._frames.clear()
        self._reference = []
        self._seen = 0

    def interrupted(self) -> None:
        """No frames came for a while: those before it and those after it do not show the same street."""
        self._before = []
        self._frames.clear()
        if self.state == "trial":
            self._seen = 0

    def observe(self, behaviour: FrameBehaviour) -> str | None:
        """A frame by the weights in use. Returns the reason, once, when they must go."""
        if self.state == "fallen":
            return None
        if not behaviour.finite:
            # The source's are not kept either: they would be what others are measured by.
            return None if self.state == "unwatched" else self._fall("not finite")
        self._frames.append(behaviour)
        self._seen += 1
        if self.state == "unwatched" or len(self._frames) < self._config.min_frames:
            return None
        faults = self._on_trial() if self.state == "trial" else self._on_guard()
        if faults:
            return self._fall("; ".join(faults))
        if self.state == "trial" and self._seen >= self._config.trial:
            self.state, self._reference = "guard", list(self._frames)
        return None

    def _fall(self, reason: str) -> str:
        self.state, self.reason = "fallen", reason
        return reason

    def _on_trial(self) -> list[str]:
        before, after = self._before, self._frames
        if not before:
            # As on guard: nothing tells whether the weights or a covered camera make a branch see one thing.
            return _collapsed(after, before, MAX_SINGLE_CLASS_SHARE, ["most_fused"])
        faults = _collapsed(after, before, MAX_SINGLE_CLASS_SHARE, _BRANCHES)
        for name, tolerance in (("agreement", AGREEMENT_DROP), ("confidence", CONFIDENCE_DROP)):
            usual, spread = _median(before, name), _spread(before, name)
            found, least = _median(after, name), usual - max(tolerance, SPREAD * spread)
            if found < least:
                faults.append(f"{name} {found:.3f}, was {usual:.3f} (at least {least:.3f} expected)")
        shift = float(np.abs(_histogram(after) - _histogram(before)).sum() / 2)
        if shift > HISTOGRAM_SHIFT:
            faults.append(f"{shift:.2f} of the points changed class (at most {HISTOGRAM_SHIFT:.2f} expected)")
        return faults

    def _on_guard(self) -> list[str]:
        usual, now = self._reference, self._frames
        # One branch alone may see one thing everywhere: a covered camera.
        faults = _collapsed(now, usual, MAX_SINGLE_CLASS_SHARE, ["most_fused"])
        floors = {"agreement": AGREEMENT_FLOOR, "confidence": CONFIDENCE_FLOOR}
        if _median(now, "most_image") >= MAX_SINGLE_CLASS_SHARE:
            del floors["agreement"]
        for name, floor in floors.items():
            found, least = _median(now, name), floor * _median(usual, name)
            if found < least:
                faults.append(f"{name} {found:.3f} (at least {least:.3f} expected)")
        return faults


def _collapsed(
    frames: Collection[FrameBehaviour], before: Collection[FrameBehaviour], most: float, branches: Collection[str]
) -> list[str]:
    """Branches that say one class everywhere and did not before."""
    return [
        f"one class everywhere in {_BRANCHES[name]}: {_median(frames, name):.3f} of the points"
        for name in branches
        if _median(frames, name) >= most and not _median(before, name) >= most
    ]


def _values(frames: Collection[FrameBehaviour], name: str) -> list[float]:
    return [value for frame in frames if not math.isnan(value := getattr(frame, name))]


def _median(frames: Collection[FrameBehaviour], name: str) -> float:
    """NaN, which no comparison holds for, where no frame has a value."""
    values = _values(frames, name)
    return statistics.median(values) if values else math.nan


def _spread(frames: Collection[FrameBehaviour], name: str) -> float:
    """The standard deviation, by the median absolute deviation: a frame that is far off does not count."""
    values = _values(frames, name)
    if not values:
        return 0.0
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(value - middle) for value in values)


def _histogram(frames: Collection[FrameBehaviour]) -> NDArray[np.float64]:
    return np.mean([frame.histogram for frame in frames], axis=0)


def _most(counts: NDArray[np.integer]) -> float:
    return float(counts.max() / counts.sum()) if counts.any() else math.nan
