"""Selection: which of a model's predictions are confident enough to be pseudo-labels.

A prediction is kept when its probability is at least min(quantile, cap), the quantile being taken over the winning
probabilities of the same predicted class over all frames that are learned from. Published with the median and 0.9
(xMUDA: Jaritz et al., Cross-modal Learning for Domain Adaptation in 3D Semantic Segmentation, TPAMI 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import SelectionConfig
from sam_adapt_ros.frame import IGNORE


@dataclass(frozen=True, eq=False)
class Candidates:
    """labels: (N,) uint8 winning classes, 255 where there is no candidate. probability: (N,) float32 of the winner."""

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]


def candidates(
    fused: NDArray[np.float32],
    image: NDArray[np.float32],
    points: NDArray[np.float32],
    seen: NDArray[np.bool_],
    config: SelectionConfig,
) -> Candidates:
    """The predictions that may be selected.

    fused, image, points: (N, C) probabilities (image: zeros where no camera sees the point); seen: (N,) bool.
    Points without a finite, positive winning probability are no candidates, nor, where the image's prediction is
    selected or has to agree, those that no camera sees.
    """
    chosen = {Branch.FUSED: fused, Branch.IMAGE: image, Branch.POINTS: points}[Branch(config.branch)]
    labels = chosen.argmax(1).astype(np.uint8)
    probability = np.take_along_axis(chosen, labels[:, None].astype(np.intp), 1)[:, 0].astype(np.float32)
    valid = np.isfinite(probability) & (probability > 0)
    if config.branch == Branch.IMAGE or config.require_agreement:
        valid &= seen
    if config.require_agreement:
        valid &= image.argmax(1) == points.argmax(1)
        valid &= labels == points.argmax(1)
    return Candidates(np.where(valid, labels, np.uint8(IGNORE)), np.where(valid, probability, np.float32(0)))


def apply_thresholds(candidates: Candidates, thresholds: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(N,) uint8: the candidates whose probability is not below their class's threshold, else 255."""
    limits = np.full(IGNORE + 1, np.inf, np.float32)  # as probabilities are: 0.9 is not below 0.9
    limits[: len(thresholds)] = thresholds
    kept = candidates.probability >= limits[candidates.labels]
    return np.where(kept, candidates.labels, np.uint8(IGNORE))


def dataset_thresholds(candidates: Candidates, classes: int, config: SelectionConfig) -> NDArray[np.float32]:
    """(C,) thresholds over a whole data set at once, exact: the published two-pass filter's first pass.

    candidates: those of all frames, concatenated. The quantile is the value at place floor(q (n - 1)) of the sorted
    probabilities, which for q = 0.5 is torch's median (the lower of the two middle values).
    """
    thresholds = np.full(classes, config.cap, np.float32)
    for class_id in range(classes):
        probability = candidates.probability[candidates.labels == class_id]
        if len(probability):
            place = int(config.quantile * (len(probability) - 1))
            thresholds[class_id] = min(np.partition(probability, place)[place], np.float32(config.cap))
    return thresholds


def streamed_thresholds(
    frames: Callable[[], Iterable[Candidates]], classes: int, config: SelectionConfig
) -> NDArray[np.float32]:
    """``dataset_thresholds``, exact, of any number of frames in bounded memory.

    The bits of positive float32 numbers, read as integers, are in the numbers' order: a first pass counts the upper 16
    bits by class, a second one the lower 16 bits of those numbers among which the quantile is.

    frames: gives the candidates frame by frame; called twice.
    """
    upper = _count_halves(frames(), classes, lambda bits, _: (bits >> _HALF, np.ones(len(bits), bool)))
    totals = upper.sum(axis=1)
    places = np.array([int(config.quantile * (total - 1)) for total in np.maximum(totals, 1)])
    found = (upper.cumsum(axis=1) > places[:, None]).argmax(axis=1)
    before = upper.cumsum(axis=1)[np.arange(classes), found] - upper[np.arange(classes), found]
    lower = _count_halves(frames(), classes, lambda bits, labels: (bits & (_CELLS - 1), bits >> _HALF == found[labels]))
    last = (lower.cumsum(axis=1) > (places - before)[:, None]).argmax(axis=1)
    quantiles = (found.astype(np.uint32) << _HALF | last.astype(np.uint32)).view(np.float32)
    return np.where(totals > 0, np.minimum(quantiles, np.float32(config.cap)), np.float32(config.cap))


_HALF, _CELLS = np.uint32(16), 1 << 16


def _count_halves(
    frames: Iterable[Candidates],
    classes: int,
    cells: Callable[[NDArray[np.uint32], NDArray[np.uint8]], tuple[NDArray[np.integer], NDArray[np.bool_]]],
) -> NDArray[np.int64]:
    """(C, 65536) counts by class. cells: of the bits of probabilities, and which of them count."""
    counts = np.zeros(classes * _CELLS, np.int64)
    for frame in frames:
        known = frame.labels != IGNORE
        labels, bits = frame.labels[known], np.ascontiguousarray(frame.probability[known], np.float32).view(np.uint32)
        cell, counted = cells(bits, labels)
        # Not bincount over all cells: a frame has fewer points than there are cells.
        which, number = np.unique(labels[counted].astype(np.int64) * _CELLS + cell[counted], return_counts=True)
        counts[which] += number
    return counts.reshape(classes, _CELLS)
