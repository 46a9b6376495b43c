"""Density and correctness of pseudo-labels, over all points and by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.evaluation.confusion import Confusion, check_class_ids
from sam_adapt_ros.io.json_values import json_values

MEASURES = ("coverage", "precision", "recall")


class LabelStatistics:
    """Counts over any number of frames; ratios are of the counts, so frames weigh by their points.

    A ratio without points is NaN. Precision and recall are over the points of known class; ``coverage`` is over all.

    points: how many. labelled: (C,) by label. confusion: of the points of known class, with labels as predictions.
    """

    def __init__(self, classes: int) -> None:
        self.points = 0
        self.labelled = np.zeros(classes, np.int64)
        self.confusion = Confusion(classes)

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
        check_class_ids("labels", labels, classes)
        self.points += len(labels)
        self.labelled += np.bincount(labels, minlength=classes)[:classes]
        if truth is not None:
            self.confusion.add(truth, labels)

    @property
    def coverage(self) -> float:
        """Share of the points that have a label."""
        return _ratio(self.labelled.sum(), self.points)

    @property
    def precision(self) -> float:
        """Share of the labels that are right."""
        return _ratio(self._right.sum(), self.confusion.matrix.sum())

    @property
    def recall(self) -> float:
        """Share of the points whose label is right."""
        return _ratio(self._right.sum(), self.confusion.points)

    @property
    def coverage_by_class(self) -> NDArray[np.float64]:
        """(C,) share of a true class's points that have a label, right or wrong."""
        return _ratios(self.confusion.matrix.sum(1), self.confusion.counts.sum(1))

    @property
    def precision_by_class(self) -> NDArray[np.float64]:
        """(C,) share of a class's labels that are right."""
        return _ratios(self._right, self.confusion.matrix.sum(0))

    @property
    def recall_by_class(self) -> NDArray[np.float64]:
        """(C,) share of a true class's points whose label is right."""
        return _ratios(self._right, self.confusion.counts.sum(1))

    @property
    def _right(self) -> NDArray[np.int64]:
        return np.diagonal(self.confusion.matrix)

    def as_dict(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Plain numbers for a report, ``None`` where a ratio is of no points. names: of the classes."""
        by_class = {measure: getattr(self, f"{measure}_by_class") for measure in MEASURES}
        values: dict[str, Any] = json_values(
            {
                "points": self.points,
                **{measure: getattr(self, measure) for measure in MEASURES},
                "classes": {
                    name: {
                        "labelled": self.labelled[place],
                        **{measure: ratios[place] for measure, ratios in by_class.items()},
                    }
                    for place, name in enumerate(names)
                },
            }
        )
        return values


def _ratio(part: int | np.integer, whole: int | np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
