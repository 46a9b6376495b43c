"""Confusion matrix and intersection over union."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_adapt_ros.frame import IGNORE


class Confusion:
    """Counts of points by true and predicted class, over any number of frames.

    counts: (C, C + 1) int64 by true class (row) and predicted class (column); the last column is of the points without
        a prediction (255), which are part of their class's union. Points of unknown class (255) are left out.
    """

    def __init__(self, classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((classes, classes + 1), np.int64)

    def add(self, truth: ArrayLike, predicted: ArrayLike) -> None:
        """Counts (N,) true and predicted class ids. Raises ValueError for ids that are neither a class nor 255."""
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape:
            raise ValueError(f"truth and prediction of the same shape expected, got {truth.shape}, {predicted.shape}")
        classes = len(self.counts)
        check_class_ids("truth", truth, classes)
        check_class_ids("prediction", predicted, classes)
        known = truth != IGNORE
        columns = np.minimum(predicted[known], classes).astype(np.int64)
        cells = truth[known].astype(np.int64) * (classes + 1) + columns
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)

    def __iadd__(self, other: Confusion) -> Confusion:
        """Adds the counts of a confusion over the same classes."""
        self.counts += other.counts
        return self

    @property
    def matrix(self) -> NDArray[np.int64]:
        """(C, C) the counts of the points that have a prediction."""
        return self.counts[:, :-1]

    @property
    def points(self) -> int:
        """How many points were counted."""
        return int(self.counts.sum())

    def iou(self) -> NDArray[np.float64]:
        """(C,) intersection over union; NaN for a class that neither occurs nor is predicted."""
        return iou_of(self.counts)

    def miou(self) -> float:
        """The mean IoU over the classes that occur or are predicted; NaN when there are none."""
        return _mean(self.iou())

    def miou_present(self) -> float:
        """The mean IoU over the classes that the truth has; NaN when there are none.

        A class that the truth lacks costs those that it is taken for, and no more: a handful of points would else be a
        whole class, in which models cannot be compared.
        """
        return _mean(self.iou()[self.counts.sum(1) > 0])

    def miou_published(self) -> float:
        """The mean IoU over all classes of the class set, those that do not occur as 0, as published tables have it
        (xMUDA: Jaritz et al., CVPR 2020)."""
        return float(np.nan_to_num(self.iou()).mean()) if self.points else float("nan")


def _mean(iou: NDArray[np.float64]) -> float:
    known = iou[~np.isnan(iou)]
    return float(known.mean()) if len(known) else float("nan")


def iou_of(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """(..., C) intersection over union of (..., C, C + 1) counts, see ``Confusion``; NaN as in ``Confusion.iou``."""
    matrix = counts[..., :-1]
    intersection = np.diagonal(matrix, axis1=-2, axis2=-1)
    union = counts.sum(-1) + matrix.sum(-2) - intersection
    return np.divide(intersection, union, out=np.full(union.shape, np.nan), where=union > 0)


def check_class_ids(name: str, ids: NDArray[np.integer], classes: int) -> None:
    """Raises ValueError that names ``name`` when an id is neither a class nor 255."""
    foreign = ids[(ids >= classes) & (ids != IGNORE)]
    if len(foreign):
        raise ValueError(f"{name}: class ids below {classes} or {IGNORE} expected, got {foreign.max()}")
