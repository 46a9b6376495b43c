"""The rollback rule: when weights in use are to be rolled back, decided from their predictions on the stream alone.

*While weights are new*, the frames just before the swap and those just after it show the same street: what changes at
that very frame is due to the weights. Medians over both sides are compared, and what is allowed is the larger of a
fixed tolerance and a few times the spread among the frames before. Driving on changes the scene a little, too; the
tolerances allow for that. In the simulated town at 5 Hz, from 20 frames to the next 10 the same weights lose up to
0.25 of the agreement of 2D and 3D on a night drive, where it scatters by 0.12, but never more than 0.03 of the
confidence; of 168 swaps of good weights for themselves, by day, by night, in the new city and with the other LiDAR,
none was rolled back.

*Later* the weights do not change any more, so what changes then is the scene: nightfall alone halves the agreement of a
day model's branches, although its weights are as good as ever, and a rollback would not help. Hence only what no scene
explains counts: numbers that are not finite, one class everywhere, and agreement or confidence below a floor far under
what these very weights showed while they were new.
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
from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.frame import IGNORE

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Prediction

PAUSE_S = 10.0
"""After so long without a frame the vehicle may be anywhere: new weights are not compared with what was before."""
# During the trial: what medians after the swap may differ by from those before.
AGREEMENT_DROP = 0.2  # of the share of points on which 2D and 3D agree
CONFIDENCE_DROP = 0.07  # of the labels' mean probability
SPREAD = 3.0  # standard deviations among the frames before; allowed where they are more than these drops
HISTOGRAM_SHIFT = 0.5  # share of the points that may change their class
MAX_SINGLE_CLASS_SHARE = 0.97  # of the points that may be of one class
# After the trial, as shares of the medians in it.
AGREEMENT_FLOOR = 0.25  # nightfall leaves 0.48
CONFIDENCE_FLOOR = 0.6
_COMPARED_POINTS = 16_384  # on which 2D and 3D are compared, at most: more take time and change nothing
_TO_STANDARD_DEVIATION = 1.4826  # of the median absolute deviation, for normally distributed values
_NOT_FINITE = "predicted probabilities are not finite"
_WORDS = {"agreement": "2D/3D agreement", "confidence": "confidence"}

State = Literal["idle", "trial", "trusted", "failed"]


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """What is monitored of one frame. Shares and probabilities from 0 to 1; NaN where there are no points to count.

    finite: whether all probabilities of all branches are finite; if not, all else is meaningless.
    agreement: share of the points that a camera sees whose most probable classes in 2D and 3D are the same; NaN for a
        network of one branch.
    confidence: mean probability of the labels of all points. histogram: (C,) shares of these labels.
    single_class_2d, single_class_3d: share of a branch's most frequent class, of the points that a camera sees.
    single_class_fused: share of the most frequent label, of all points.
    """

    finite: bool
    agreement: float
    confidence: float
    single_class_2d: float
    single_class_3d: float
    single_class_fused: float
    histogram: NDArray[np.float64]


def frame_statistics(prediction: Prediction) -> FrameStatistics:
    """The statistics of a prediction, in about 1.2 ms for 35,000 points and 8 classes."""
    labels, classes = prediction.labels, prediction.fused.shape[1]
    # A sum is finite only if all its terms are, and takes a tenth of the time of testing each.
    with np.errstate(invalid="ignore"):
        sums = [array.sum() for array in (prediction.probability, prediction.image, prediction.points)]
    counts = np.bincount(labels, minlength=IGNORE + 1)[:classes]
    count = int(counts.sum())
    seen = np.flatnonzero(prediction.seen)
    seen = seen[:: -(-len(seen) // _COMPARED_POINTS) or 1]
    image, points = prediction.image[seen].argmax(1), prediction.points[seen].argmax(1)
    if not sums[2]:  # the network has no point branch
        points = points[:0]
    return FrameStatistics(
        finite=bool(np.isfinite(sums).all()),
        agreement=float((image == points).mean()) if len(points) else math.nan,
        confidence=float(sums[0]) / count if count else math.nan,
        single_class_2d=_largest_share(np.bincount(image)),
        single_class_3d=_largest_share(np.bincount(points)),
        single_class_fused=_largest_share(counts),
        histogram=counts / max(count, 1),
    )


class RollbackMonitor:
    """Compares the frames of new weights with those before them, and later with those of their own trial.

    Observes every frame of the stream, in one thread.
    state: ``idle`` (the source model is in use: there is nothing to roll back to), ``trial`` (the weights are new),
    ``trusted`` (their trial is over, only a collapse counts) or ``failed`` (they are to be rolled back).
    reason: why they failed, with numbers; "" unless they have.
    """

    def __init__(self, config: RollbackConfig) -> None:
        self._config = config
        self.state: State = "idle"
        self.reason = ""
        self._frames: deque[FrameStatistics] = deque(maxlen=config.window)  # the latest, of the weights in use
        self._before: list[FrameStatistics] = []  # the last ones of the weights before; empty: not to be compared
        self._trial: list[FrameStatistics] = []  # the last ones of the trial
        self._seen = 0  # frames of the weights in use
        self._version = ""
        self._last_frame_s = -math.inf

    def observe_outcome(
        self, outcome: Prediction | NetworkError, version: str, *, source: bool, now_s: float
    ) -> str | None:
        """A frame of the stream, labelled by ``version``; returns the reason, once, when that is to be rolled back.

        The one way in which a stream is monitored, live and offline: a change of versions begins a trial, and a pause
        of more than PAUSE_S ends the comparison with what was before. Takes about 1.5 ms.

        Args:
            outcome: the prediction, or why there is none. Logits that are not finite are the weights' fault; whatever
                else a network fails with says nothing about them.
            version: its name in the weight store, "" for weights that are in none.
            source: whether it is the source model.
            now_s: on the clock of the stream; where it goes back, as between two passes over a bag, that is a pause.
        """
        if version != self._version:
            newer = (version_number(version) or 0) > (version_number(self._version) or 0)
            self._version = version
            self.swapped(source=source, newer=newer)
        if not 0 <= now_s - self._last_frame_s <= PAUSE_S:
            self.interrupted()
        self._last_frame_s = now_s
        if isinstance(outcome, NetworkError):
            not_finite = outcome.reason == "network_not_finite" and self.state not in ("idle", "failed")
            return self._fail(_NOT_FINITE) if not_finite else None
        return self.observe(frame_statistics(outcome))

    def swapped(self, *, source: bool, newer: bool) -> None:
        """The frames that come now are labelled by other weights.

        Args:
            source: whether they are the source model's.
            newer: whether they are newer than those before, and so to be compared with them. Going back to older ones
                has a reason, and what those before showed would be no measure: then only a collapse counts.
        """
        if not newer or self.state == "failed":
            self._before = []
        elif self.state != "trial":  # after a trial that was cut short, what was trusted before it stays the measure
            self._before = list(self._frames)
        if len(self._before) < self._config.min_frames:
            self._before = []
        self.state, self.reason = ("idle" if source else "trial"), ""
        self._frames.clear()
        self._trial = []
        self._seen = 0

    def interrupted(self) -> None:
        """No frames came for a while: those before the pause and those after it do not show the same street."""
        self._before = []
        self._frames.clear()
        if self.state == "trial":
            self._seen = 0

    def observe(self, frame: FrameStatistics) -> str | None:
        """A frame by the weights in use; returns the reason, once, when they are to be rolled back."""
        if self.state == "failed":
            return None
        if not frame.finite:
            # Frames of the source are left out as well: later weights would be compared with them.
            return None if self.state == "idle" else self._fail(_NOT_FINITE)
        self._frames.append(frame)
        self._seen += 1
        if self.state == "idle" or len(self._frames) < self._config.min_frames:
            return None
        faults = self._faults_in_trial() if self.state == "trial" else self._faults_later()
        if faults:
            return self._fail("; ".join(faults))
        if self.state == "trial" and self._seen >= self._config.trial:
            self.state, self._trial = "trusted", list(self._frames)
        return None

    def _fail(self, reason: str) -> str:
        self.state, self.reason = "failed", reason
        return reason

    def _faults_in_trial(self) -> list[str]:
        before, after = self._before, self._frames
        if not before:
            # One branch may predict a single class because of its weights or because of a covered camera.
            return _collapsed(after, before, [Branch.FUSED])
        faults = _collapsed(after, before, list(Branch))
        for name, drop in (("agreement", AGREEMENT_DROP), ("confidence", CONFIDENCE_DROP)):
            usual, found = _median(before, name), _median(after, name)
            least = usual - max(drop, SPREAD * _spread(before, name))
            if found < least:
                faults.append(f"{_fell(name, usual, found, least)} after the swap")
        shift = float(np.abs(_histogram(after) - _histogram(before)).sum() / 2)
        if shift > HISTOGRAM_SHIFT:
            faults.append(f"{shift:.2f} of the points changed class after the swap (at most {HISTOGRAM_SHIFT} allowed)")
        return faults

    def _faults_later(self) -> list[str]:
        trial, now = self._trial, self._frames
        faults = _collapsed(now, trial, [Branch.FUSED])
        floors = {"agreement": AGREEMENT_FLOOR, "confidence": CONFIDENCE_FLOOR}
        if _median(now, "single_class_2d") >= MAX_SINGLE_CLASS_SHARE:  # a covered camera: branches cannot agree
            del floors["agreement"]
        for name, floor in floors.items():
            usual, found = _median(trial, name), _median(now, name)
            if found < floor * usual:
                faults.append(f"{_fell(name, usual, found, floor * usual)} since the trial")
        return faults


def _collapsed(
    frames: Collection[FrameStatistics], before: Collection[FrameStatistics], branches: Collection[Branch]
) -> list[str]:
    """Branches that predict one class nearly everywhere, and did not before."""
    faults = []
    for branch in branches:
        found, usual = (_median(part, f"single_class_{branch}") for part in (frames, before))
        if found >= MAX_SINGLE_CLASS_SHARE and not usual >= MAX_SINGLE_CLASS_SHARE:
            faults.append(f"one class everywhere in {branch}: {found:.3f} of the points")
    return faults


def _fell(name: str, usual: float, found: float, least: float) -> str:
    return f"{_WORDS[name]} fell from {usual:.3f} to {found:.3f} (at least {least:.3f} required)"


def _values(frames: Collection[FrameStatistics], name: str) -> list[float]:
    return [value for frame in frames if not math.isnan(value := getattr(frame, name))]


def _median(frames: Collection[FrameStatistics], name: str) -> float:
    """NaN, for which no comparison holds, where no frame has a value."""
    values = _values(frames, name)
    return statistics.median(values) if values else math.nan


def _spread(frames: Collection[FrameStatistics], name: str) -> float:
    """The standard deviation by the median absolute deviation, on which single frames have no influence."""
    values = _values(frames, name)
    if not values:
        return 0.0
    middle = statistics.median(values)
    return _TO_STANDARD_DEVIATION * statistics.median(abs(value - middle) for value in values)


def _histogram(frames: Collection[FrameStatistics]) -> NDArray[np.float64]:
    return np.mean([frame.histogram for frame in frames], axis=0)


def _largest_share(counts: NDArray[np.integer]) -> float:
    return float(counts.max() / counts.sum()) if counts.any() else math.nan
