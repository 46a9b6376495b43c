"""Selection: which of a segmenter's own predictions are trusted enough to be pseudo-labels.

A prediction is kept when its probability is at least min(quantile, cap), the quantile being taken over the winning
probabilities of the same predicted class. Published as a filter of a whole data set with the median and 0.9 (xMUDA);
here also over a stream, where a histogram that forgets stands for the data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    asked for or has to agree, those that no camera sees.
    """
    chosen = {"fused": fused, "2d": image, "3d": points}[config.branch]
    labels = chosen.argmax(1).astype(np.uint8)
    probability = np.take_along_axis(chosen, labels[:, None].astype(np.intp), 1)[:, 0].astype(np.float32)
    valid = np.isfinite(probability) & (probability > 0)
    if config.branch == "2d" or config.require_agreement:
        valid &= seen
    if config.require_agreement:
        valid &= image.argmax(1) == points.argmax(1)
        valid &= labels == points.argmax(1)
    return Candidates(np.where(valid, labels, np.uint8(IGNORE)), np.where(valid, probability, np.float32(0)))


class RunningThresholds:
    """Class-wise thresholds over a stream, in memory that does not grow.

    A frame's winning probabilities enter a histogram a class, whose weights halve every ``half_life`` frames. A
    threshold is exact to the width of a bin (1 / bins), and errs to the lower side.
    """

    def __init__(self, classes: int, config: SelectionConfig) -> None:
        self._config = config
        self._counts = np.zeros((classes, config.bins))
        self._keep = 0.5 ** (1.0 / config.half_life) if config.half_life > 0 else 1.0

    def update(self, candidates: Candidates) -> None:
        """Takes in one frame. Raises ValueError on a class outside the class set."""
        classes, bins = self._counts.shape
        valid = candidates.labels != IGNORE
        labels = candidates.labels[valid].astype(np.intp)
        if len(labels) and labels.max() >= classes:
            raise ValueError(f"labels: classes below {classes} expected, got {labels.max()}")
        place = np.clip((candidates.probability[valid] * bins).astype(np.intp), 0, bins - 1)
        self._counts *= self._keep
        self._counts += np.bincount(labels * bins + place, minlength=classes * bins).reshape(classes, bins)

    def thresholds(self) -> NDArray[np.float32]:
        """(C,) min(quantile, cap); of classes not met yet, the cap."""
        bins = self._config.bins
        cumulative = self._counts.cumsum(1)
        total = cumulative[:, -1:]
        # The lower of the two middle values, as torch.median takes it: the first place that reaches the quantile.
        reached = cumulative >= np.maximum(total * self._config.quantile, np.finfo(np.float64).tiny) * (1 - 1e-12)
        quantile = np.where(total[:, 0] > 0, reached.argmax(1) / bins, 1.0)
        return np.minimum(quantile, self._config.cap).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs: plain numbers and arrays, never code."""
        return {"bins": self._config.bins, "counts": self._counts.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a ``state``. Raises ValueError that names the field when it does not fit."""
        if state.get("bins") != self._config.bins:
            raise ValueError(f"bins: {self._config.bins} expected, got {state.get('bins')}")
        counts = np.asarray(state.get("counts"), np.float64)
        if counts.shape != self._counts.shape or not np.isfinite(counts).all() or (counts < 0).any():
            raise ValueError(f"counts: {self._counts.shape} finite and not negative expected, got {counts.shape}")
        self._counts = counts.copy()


class Selector:
    """Selection over a stream: each frame is measured by the thresholds that it has itself taken part in."""

    def __init__(self, classes: int, config: SelectionConfig) -> None:
        self.config = config
        self.running = RunningThresholds(classes, config)

    def __call__(
        self,
        fused: NDArray[np.float32],
        image: NDArray[np.float32],
        points: NDArray[np.float32],
        seen: NDArray[np.bool_],
        *,
        learn: bool = True,
    ) -> NDArray[np.uint8]:
        """(N,) uint8 pseudo-labels, 255 = ignore. learn: whether the frame enters the running histogram."""
        found = candidates(fused, image, points, seen, self.config)
        if learn:
            self.running.update(found)
        return apply_thresholds(found, self.running.thresholds())


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
