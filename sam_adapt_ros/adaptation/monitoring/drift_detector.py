"""Detection of a domain shift: whether the present scene is still the one that was learned last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.frame_summary import FrameSummary, color_distance
from sam_adapt_ros.config import DriftConfig

THRESHOLDS = {"histogram": 0.27, "confidence": 0.04, "mean_color": 0.15}
"""Distances that are a drift. On drives through the simulated town, windows of one and the same drive differ by up to
0.21, 0.013 and 0.1; day and night by 0.1, 0.00 and 0.33; two kinds of LiDAR by 0.3, 0.05 and 0.1."""


class DriftDetector:
    """Compares the latest frames with the first ones that came after the last round of learning.

    Three statistics are compared, each by its median over ``window`` frames, so that single frames do not count and a
    new scene is noticed after half a window: the shares of the predicted classes, their confidence, and the images'
    mean colour. After learning, a new reference is made of the frames that follow, since other weights predict
    differently in the same scene. May be used from several threads.
    """

    def __init__(self, config: DriftConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._latest: deque[_Statistics] = deque(maxlen=config.window)
        self._reference: list[_Statistics] = []

    def observe(self, summary: FrameSummary) -> None:
        """Takes in a frame."""
        statistics = _Statistics(summary.histogram, summary.confidence, summary.mean_color)
        with self._lock:
            self._latest.append(statistics)
            if len(self._reference) < self.config.window:
                self._reference.append(statistics)

    def reset_reference(self) -> None:
        """After learning: the frames that come now are what later ones are compared with."""
        with self._lock:
            self._reference = []

    @property
    def mean_color(self) -> NDArray[np.float64] | None:
        """(3,) of the present scene, RGB from 0 to 1; None before the first frame."""
        with self._lock:
            return _medians(self._latest).mean_color if self._latest else None

    @property
    def distances(self) -> dict[str, float]:
        """Of the present scene to the reference, each from 0 to 1: ``histogram`` (total variation), ``confidence``
        (absolute difference; left out where none is known) and ``mean_color``. Empty while a window is not full."""
        with self._lock:
            latest, reference = list(self._latest), self._reference
            if len(latest) < self.config.window or len(reference) < self.config.window:
                return {}
        before, now = _medians(reference), _medians(latest)
        distances = {
            "histogram": float(np.abs(now.histogram - before.histogram).sum() / 2),
            "mean_color": float(color_distance(now.mean_color, before.mean_color)),
            "confidence": abs(now.confidence - before.confidence),
        }
        return {name: distance for name, distance in distances.items() if not np.isnan(distance)}

    @property
    def drift(self) -> dict[str, float]:
        """The distances that are above their thresholds; empty when there is no drift."""
        return {name: distance for name, distance in self.distances.items() if distance > THRESHOLDS[name]}


class _Statistics(NamedTuple):
    """Of a frame, or medians over many: (C,) shares of the classes, mean confidence, (3,) mean colour."""

    histogram: NDArray[np.float64]
    confidence: float
    mean_color: NDArray[np.float64]


def _medians(frames: Collection[_Statistics]) -> _Statistics:
    histogram, confidence, mean_color = (np.median(values, axis=0) for values in zip(*frames, strict=True))
    return _Statistics(histogram, float(confidence), mean_color)
