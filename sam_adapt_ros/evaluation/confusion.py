"""Confusion matrix and intersection over union."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_adapt_ros.frame import IGNORE


class Confusion:
    """Counts of points by true class (rows) and predicted class (columns), over any number of frames.

    classes: names, or how many. Points whose truth is 255 are left out; points whose truth is a class and whose
    prediction is 255 count as missed: they are in ``missed`` and in the class's union.
    """

    def __init__(self, classes: Sequence[str] | int) -> None:
        self.classes = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
        self.matrix: NDArray[np.int64] = np.zeros((len(self.classes), len(self.classes)), np.int64)
        self.missed: NDArray[np.int64] = np.zeros(len(self.classes), np.int64)

    def add(self, truth: ArrayLike, predicted: ArrayLike) -> None:
        """Counts (N,) true and predicted class ids. Raises ValueError for ids that are neither a class nor 255."""
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape:
            raise ValueError(f"truth and prediction of the same shape expected, got {truth.shape}, {predicted.shape}")
        count = len(self.classes)
        for name, ids in (("truth", truth), ("prediction", predicted)):
            if ids.size and not ((ids < count) | (ids == IGNORE)).all():
                raise ValueError(f"{name}: class ids below {count} or 255 expected, got {ids[ids >= count].max()}")
        known = truth != IGNORE
        column = np.where(predicted == IGNORE, count, predicted).astype(np.int64)[known]
        cells = truth[known].astype(np.int64) * (count + 1) + column
        table = np.bincount(cells, minlength=count * (count + 1)).reshape(count, count + 1)
        self.matrix += table[:, :count]
        self.missed += table[:, count]

    def __iadd__(self, other: Confusion) -> Confusion:
        if other.classes != self.classes:
            raise ValueError(f"confusion over {self.classes} expected, got {other.classes}")
        self.matrix += other.matrix
        self.missed += other.missed
        return self

    def iou(self) -> NDArray[np.float64]:
        """(C,) intersection over union; NaN for a class that neither occurs nor is predicted."""
        hits = np.diag(self.matrix).astype(np.float64)
        union = self.matrix.sum(0) + self.matrix.sum(1) + self.missed - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    def miou(self, absent_as_zero: bool = False) -> float:
        """The mean over the classes that occur or are predicted; NaN when there are none.

        absent_as_zero: a class that neither occurs nor is predicted counts as 0, as in the published figures.
        """
        iou = self.iou()
        if absent_as_zero:
            return float(np.nan_to_num(iou).mean())
        known = iou[~np.isnan(iou)]
        return float(known.mean()) if len(known) else float("nan")

    def accuracy(self) -> float:
        """The share of points labelled rightly; NaN when nothing was counted."""
        total = int(self.matrix.sum() + self.missed.sum())
        return float(np.trace(self.matrix) / total) if total else float("nan")

    @property
    def points(self) -> int:
        """How many points were counted."""
        return int(self.matrix.sum() + self.missed.sum())
