"""What the present scene is like, and whether it still is what was learned last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.frame_summary import FrameSummary
from sam_adapt_ros.config import DriftConfig

THRESHOLDS = {"histogram": 0.27, "confidence": 0.04, "tone": 0.15}
"""Distances that are a drift. On drives through the simulated town, windows of one and the same drive differ by up to
0.21, 0.013 and 0.1; day and night by 0.1, 0.00 and 0.33; two kinds of LiDAR by 0.3, 0.05 and 0.1."""


class DriftWatch:
    """Compares the last frames with the first ones after learning last took place.

    Three things are compared, each by its median over ``window`` frames, which changes from one scene to another at
    once: the shares of the predicted classes, their confidence, and the images' mean colour. After learning, a new
    reference is made of the frames that follow: other weights say other things of the same scene.
    May be used from several threads.
    """

    def __init__(self, config: DriftConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._now: deque[_Seen] = deque(maxlen=config.window)
        self._reference: list[_Seen] = []

    def observe(self, summary: FrameSummary, confidence: float = float("nan")) -> None:
        """A frame. confidence: mean probability of the winning classes; NaN where it is not known."""
        seen = _Seen(summary.histogram, confidence, summary.tone)
        with self._lock:
            self._now.append(seen)
            if len(self._reference) < self.config.window:
                self._reference.append(seen)

    def learned(self) -> None:
        """What comes now is what later frames are compared with."""
        with self._lock:
            self._reference = []

    @property
    def tone(self) -> NDArray[np.float64] | None:
        """(3,) mean colour of the present scene, RGB from 0 to 1; None before the first frame."""
        with self._lock:
            return _medians(self._now).tone if self._now else None

    @property
    def distances(self) -> dict[str, float]:
        """``histogram`` (total variation), ``confidence`` (absolute) and ``tone`` (root mean square over the channels),
        each from 0 to 1; empty while there is no reference, without ``confidence`` where none is known."""
        with self._lock:
            now, reference = list(self._now), self._reference
            if len(now) < self.config.window or len(reference) < self.config.window:
                return {}
        was, is_now = _medians(reference), _medians(now)
        distances = {
            "histogram": float(np.abs(is_now.histogram - was.histogram).sum() / 2),
            "tone": float(np.linalg.norm(is_now.tone - was.tone) / np.sqrt(3)),
        }
        confidence = abs(is_now.confidence - was.confidence)
        if not np.isnan(confidence):
            distances["confidence"] = confidence
        return distances

    @property
    def found(self) -> dict[str, float]:
        """Those distances that are too large."""
        return {name: far for name, far in self.distances.items() if far > THRESHOLDS[name]}


class _Seen(NamedTuple):
    """Of a frame, or of many: (C,) shares of the classes, mean confidence, (3,) mean colour."""

    histogram: NDArray[np.float64]
    confidence: float
    tone: NDArray[np.float64]


def _medians(frames: Collection[_Seen]) -> _Seen:
    histogram, confidence, tone = (np.median(values, axis=0) for values in zip(*frames, strict=True))
    return _Seen(histogram, float(confidence), tone)
