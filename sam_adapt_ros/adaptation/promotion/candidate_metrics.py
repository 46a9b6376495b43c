"""Metrics of a candidate on held-out frames; no ground truth is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.promotion.candidate_evaluation import HeldOutPredictions, Labels
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import GateConfig
from sam_adapt_ros.evaluation.confusion import Confusion, iou_of
from sam_adapt_ros.evaluation.intervals import Bootstrap
from sam_adapt_ros.frame import IGNORE

CONFIDENT_PROBABILITY = 0.95
"""Where the source's probability is at least this, it is taken to be right, and candidates have to agree with it."""
DRAWS = 400
"""How often held-out frames are drawn again, to tell a gain from the luck of the few frames that were held out."""


@dataclass(frozen=True, eq=False)
class Baselines:
    """What candidates are compared with, all on the same P held-out points.

    source: predictions of the source model. batchnorm: of the source with re-estimated BatchNorm statistics.
    current: of the weights in use. pseudo_labels: (P,) of the round, 255 = none. seen: (P,) bool, by a camera.
    frame: (P,) int64 number of the held-out frame that a point is of, ascending.
    """

    source: HeldOutPredictions
    batchnorm: HeldOutPredictions
    current: HeldOutPredictions
    pseudo_labels: Labels
    seen: NDArray[np.bool_]
    frame: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CandidateMetrics:
    """Measurements of one set of weights; all but kappa from 0 to 1. Agreements of two labellings are mean IoUs.

    fused_agreement: of the fused prediction with the pseudo-labels of the points that a camera sees (of all points
        where there is no camera). There, masks have corrected the pseudo-labels; elsewhere they only repeat the
        networks' confident predictions.
    class_iou: the same by class. class_draws: (R,) that with the held-out frames drawn again, by class; NaN for a draw
        without any pseudo-label of the class.
    image_agreement: the same of the image branch alone; None without a camera or an image branch.
    score: the mean of both, by which candidates are compared. The pseudo-labels come from the fused prediction, which
        therefore agrees with them nearly everywhere, whatever it is worth; the image branch, which a new domain costs
        most, does not, so that its agreement tells who has learned.
    draws: (R,) the score with the held-out frames drawn again with replacement, the same draws for all predictions.
    pseudo_label_agreement: as ``fused_agreement``, over all points, seen or not.
    source_agreement: share of the points of which the source is confident whose class is the source's.
    class_source_agreement: the same by class.
    branch_agreement: of the 2D and the 3D branch. branch_kappa: the same corrected for chance; None
        without a camera, or where the network has one branch.
    augmentation_agreement: of the predictions of plain and of augmented frames.
    entropy: the mean entropy of the fused prediction. class_share: share of the points by predicted class.
    single_class_share: share of the points of a branch's most frequent class, by branch.
    """

    score: float
    draws: NDArray[np.float64]
    fused_agreement: float
    image_agreement: float | None
    class_iou: dict[str, float]
    class_draws: dict[str, NDArray[np.float64]]
    pseudo_label_agreement: float
    source_agreement: float
    class_source_agreement: dict[str, float]
    branch_agreement: float
    branch_kappa: float | None
    augmentation_agreement: float
    entropy: float
    class_share: dict[str, float]
    single_class_share: dict[Branch, float]

    def as_dict(self) -> dict[str, float]:
        """Plain numbers by name, those of a class or a branch as ``name/class``; without draws and what is None."""
        numbers: dict[str, float] = {}
        for name, value in vars(self).items():
            if name in ("draws", "class_draws"):
                continue
            if isinstance(value, dict):
                numbers |= {f"{name}/{part}": number for part, number in value.items()}
            elif value is not None:
                numbers[name] = value
        return numbers


class MetricsCalculator:
    """Measures predictions against the baselines.

    enough: whether at least two classes have enough pseudo-labels for a meaningful IoU; if not, no candidate can be
    evaluated.
    """

    def __init__(self, baselines: Baselines, classes: tuple[str, ...], config: GateConfig) -> None:
        self._baselines, self._classes, self._config = baselines, classes, config
        self._confident = baselines.source.probability >= CONFIDENT_PROBABILITY
        self._judged = baselines.seen if baselines.seen.any() else np.ones(len(baselines.seen), bool)
        counts = np.bincount(baselines.pseudo_labels[self._judged], minlength=IGNORE + 1)[: len(classes)]
        self._counted = counts >= config.min_class_points
        self.enough = bool(self._counted.sum() >= 2)
        frames = baselines.frame[self._judged]
        self._starts = np.flatnonzero(np.diff(frames)) + 1  # of all judged frames but the first
        self._weights = Bootstrap(len(self._starts) + 1, resamples=DRAWS).weights

    def measure(self, predictions: HeldOutPredictions) -> CandidateMetrics:
        """The metrics of a candidate, or of a baseline."""
        count, names, pseudo_labels = len(self._classes), self._classes, self._baselines.pseudo_labels
        fused = self._counts(predictions.labels)
        image = self._counts(predictions.image) if (predictions.image[self._judged] != IGNORE).any() else None
        by_class = np.nan_to_num(iou_of(fused.sum(0)))
        agreements = [self._mean(iou_of(counts.sum(0))) for counts in (fused, image) if counts is not None]
        drawn = [self._drawn(counts) for counts in (fused, image) if counts is not None]
        counted = [name for name, counted in zip(names, self._counted, strict=True) if counted]
        source_agreement, class_source_agreement = self._source_agreement(predictions)
        return CandidateMetrics(
            score=float(np.mean(agreements)),
            draws=np.mean([np.nan_to_num(each).sum(1) / max(each.shape[1], 1) for each in drawn], axis=0),
            fused_agreement=agreements[0],
            image_agreement=agreements[1] if image is not None else None,
            class_iou=dict(zip(counted, by_class[self._counted].tolist(), strict=True)),
            class_draws=dict(zip(counted, drawn[0].T, strict=True)),
            pseudo_label_agreement=self._mean(class_iou(predictions.labels, pseudo_labels, count)),
            source_agreement=source_agreement,
            class_source_agreement=class_source_agreement,
            branch_agreement=self._mean(class_iou(predictions.image, predictions.points, count)),
            branch_kappa=_kappa(predictions.image, predictions.points, count),
            augmentation_agreement=self._mean(class_iou(predictions.augmented, predictions.labels, count)),
            entropy=float(predictions.entropy.mean()) if len(predictions.entropy) else 0.0,
            class_share=dict(zip(names, predictions.histogram(count).tolist(), strict=True)),
            single_class_share={
                Branch.IMAGE: _single_class_share(predictions.image),
                Branch.POINTS: _single_class_share(predictions.points),
            },
        )

    def _counts(self, labels: Labels) -> NDArray[np.int64]:
        """(F, C, C + 1) counts by frame of the judged points' labels against the pseudo-labels, see ``Confusion``;
        points without either are left out."""
        truth, found = (np.split(each[self._judged], self._starts) for each in (self._baselines.pseudo_labels, labels))
        return np.stack(
            [_confusion(*frame, classes=len(self._classes)).counts for frame in zip(truth, found, strict=True)]
        )

    def _drawn(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """(R, K) IoU of the K classes that count, of (F, C, C + 1) counts with the frames drawn again; NaN for a draw
        without any pseudo-label of the class."""
        drawn = np.tensordot(self._weights, counts, 1)
        return np.where(drawn.sum(2) > 0, iou_of(drawn), np.nan)[:, self._counted]

    def _mean(self, iou: NDArray[np.float64]) -> float:
        """Over the classes that count; a class that neither labelling has counts as 0."""
        counted = np.nan_to_num(iou[self._counted])
        return float(counted.mean()) if len(counted) else 0.0

    def _source_agreement(self, predictions: HeldOutPredictions) -> tuple[float, dict[str, float]]:
        source = self._baselines.source.labels
        same = predictions.labels == source
        by_class = {}
        for place, name in enumerate(self._classes):
            rows = self._confident & (source == place)
            if rows.sum() >= self._config.min_class_points:
                by_class[name] = float(same[rows].mean())
        return float(same[self._confident].mean()) if self._confident.any() else 0.0, by_class


def class_iou(first: Labels, second: Labels, classes: int) -> NDArray[np.float64]:
    """(C,) intersection over union of two labellings, where both have a label; NaN for classes in neither."""
    return _confusion(first, second, classes).iou()


def _kappa(first: Labels, second: Labels, classes: int) -> float | None:
    """Agreement of two labellings beyond chance, where both have a label: 0 by chance, 1 entire (Cohen: A Coefficient
    of Agreement for Nominal Scales, Educational and Psychological Measurement 20, 1960). None where none has both."""
    matrix = _confusion(first, second, classes).matrix
    if not matrix.any():
        return None
    joint = matrix / max(matrix.sum(), 1)
    chance = float(joint.sum(0) @ joint.sum(1))
    return (float(np.trace(joint)) - chance) / (1 - chance) if chance < 1 else 0.0


def _confusion(first: Labels, second: Labels, classes: int) -> Confusion:
    both = (first != IGNORE) & (second != IGNORE)
    confusion = Confusion(classes)
    confusion.add(first[both], second[both])
    return confusion


def _single_class_share(labels: Labels) -> float:
    """Of the labels that are not 255."""
    counts = np.bincount(labels, minlength=IGNORE + 1)[:IGNORE]
    return float(counts.max() / max(counts.sum(), 1))
