"""How dense and how right pseudo-labels are, in total and by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE


class LabelStatistics:
    """Counts over any number of frames; ratios are of the counts, so frames weigh by their points.

    A ratio of nothing is NaN. Precision and recall are over the points whose truth is known; coverage is over all.
    """

    def __init__(self, classes: int) -> None:
        self.points = 0
        self.labelled = np.zeros(classes, np.int64)  # by label
        # Where the truth is known: by true class and label; the last column counts points without a label.
        self.confusion = np.zeros((classes, classes + 1), np.int64)

    def add(
        self,
        labels: NDArray[np.uint8],
        truth: NDArray[np.uint8] | None = None,
        among: NDArray[np.bool_] | None = None,
    ) -> None:
        """labels, truth: (N,) uint8 class ids, 255 = none; among: (N,) bool, the points that count (all of them).

        Raises ValueError on a class outside the class set.
        """
        if among is not None:
            labels, truth = labels[among], None if truth is None else truth[among]
        classes = len(self.labelled)
        for name, ids in (("labels", labels), ("truth", truth)):
            if ids is not None and len(ids) and ((ids >= classes) & (ids != IGNORE)).any():
                raise ValueError(
                    f"{name}: classes below {classes} or {IGNORE} expected, got {ids[ids != IGNORE].max()}"
                )
        self.points += len(labels)
        self.labelled += np.bincount(labels, minlength=IGNORE + 1)[:classes]
        if truth is not None:
            known = truth != IGNORE
            column = np.minimum(labels[known], classes).astype(np.intp)
            cell = truth[known].astype(np.intp) * (classes + 1) + column
            self.confusion += np.bincount(cell, minlength=self.confusion.size).reshape(self.confusion.shape)

    def merge(self, other: LabelStatistics) -> None:
        """Takes in what another one counted."""
        self.points += other.points
        self.labelled += other.labelled
        self.confusion += other.confusion

    @property
    def coverage(self) -> float:
        """Share of the points that are labelled."""
        return _ratio(self.labelled.sum(), self.points)

    @property
    def precision(self) -> float:
        """Share of the labelled points of known truth that are right."""
        return _ratio(self._right.sum(), self.confusion[:, :-1].sum())

    @property
    def recall(self) -> float:
        """Share of the points of known truth that are labelled, and rightly."""
        return _ratio(self._right.sum(), self.confusion.sum())

    @property
    def coverage_by_class(self) -> NDArray[np.float64]:
        """(C,) share of a true class's points that are labelled, be it wrongly."""
        return _ratios(self.confusion[:, :-1].sum(1), self.confusion.sum(1))

    @property
    def precision_by_class(self) -> NDArray[np.float64]:
        """(C,) of the points labelled so, the share that are."""
        return _ratios(self._right, self.confusion[:, :-1].sum(0))

    @property
    def recall_by_class(self) -> NDArray[np.float64]:
        """(C,) of the points that are of the class, the share labelled so."""
        return _ratios(self._right, self.confusion.sum(1))

    @property
    def _right(self) -> NDArray[np.int64]:
        return np.diagonal(self.confusion)

    def as_dict(self, names: tuple[str, ...]) -> dict[str, Any]:
        """For a report: plain numbers, ``None`` where a ratio is of nothing."""
        by_class = zip(
            names,
            self.labelled.tolist(),
            self.coverage_by_class.tolist(),
            self.precision_by_class.tolist(),
            self.recall_by_class.tolist(),
            strict=True,
        )
        return {
            "points": self.points,
            "coverage": _plain(self.coverage),
            "precision": _plain(self.precision),
            "recall": _plain(self.recall),
            "classes": {
                name: {
                    "labelled": labelled,
                    "coverage": _plain(coverage),
                    "precision": _plain(precision),
                    "recall": _plain(recall),
                }
                for name, labelled, coverage, precision, recall in by_class
            },
        }


def _ratio(part: int | np.integer, whole: int | np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
