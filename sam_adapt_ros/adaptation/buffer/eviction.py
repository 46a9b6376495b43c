"""Which frames a bounded set keeps of a stream: the frame eviction rule.

A frame that is one too many costs the set its frame of least utility. The utility of a frame is the product of

- its diversity: the mean distance to its two nearest others, where the distance of two frames combines how far apart
  they were taken and how differently they look (by the nearest alone, all frames of an even chain would have the same
  diversity, and its oldest end would be evicted instead of every other link);
- its rarity: 1 plus the Kullback-Leibler divergence of its class histogram from the mean of all, weighted, so that
  frames with rare classes stay;
- its recency: 1/2 for every half-life since it was admitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.stored_frame import StoredFrame
from sam_adapt_ros.config import BufferConfig

DISTANCE_SCALE = 30.0  # metres at which two frames count as much as entirely different predictions
APPEARANCE_WEIGHT = 2.0  # of the difference of two frames' appearance, relative to that of their distance
RARITY_WEIGHT = 1.0  # of the divergence of a frame's classes from those of all frames
_LEAST_DIVERSITY = 1e-6  # so that rarity and recency decide between copies


@dataclass(frozen=True, eq=False)
class FrameTraits:
    """What the utility of a frame depends on.

    position: (2,) metres on the map. descriptor: (D,) and histogram: (C,), see ``FrameSummary``. admitted: how many
    frames had been admitted to the buffer when it came.
    """

    position: NDArray[np.float64]
    descriptor: NDArray[np.float64]
    histogram: NDArray[np.float64]
    admitted: int


@dataclass(frozen=True, eq=False)
class BufferEntry:
    """A kept frame. key: rises from frame to frame and is never given twice."""

    key: int
    frame: StoredFrame
    traits: FrameTraits


class BoundedFrameSet:
    """Frames within limits on their number and bytes; the frame of least utility is evicted first.

    entries: in the order in which they came. nbytes: of their frames.
    """

    def __init__(self, config: BufferConfig, max_frames: int, max_bytes: int) -> None:
        self._config = config
        self.max_frames, self.max_bytes = max_frames, max_bytes
        self.entries: list[BufferEntry] = []
        self.nbytes = 0
        self._distances = np.zeros((0, 0))  # (M, M) between entries; infinite on the diagonal

    def would_keep(self, traits: FrameTraits) -> bool:
        """Whether ``add`` would keep a frame with these traits, its bytes aside."""
        if self.max_frames < 1:
            return False
        if len(self.entries) < self.max_frames:
            return True
        utilities = utility([*self._traits, traits], self._distances_with(traits), self._config)
        return int(np.argmin(utilities)) < len(self.entries)

    def add(self, entry: BufferEntry) -> bool:
        """Keeps an entry and evicts others; False when it is evicted itself, or larger than the limit."""
        if entry.frame.nbytes > self.max_bytes or self.max_frames < 1:
            return False
        self._distances = self._distances_with(entry.traits)
        self.entries.append(entry)
        self.nbytes += entry.frame.nbytes
        while len(self.entries) > self.max_frames or self.nbytes > self.max_bytes:
            self._remove(int(np.argmin(utility(self._traits, self._distances, self._config))))
        return any(other is entry for other in self.entries)

    @property
    def _traits(self) -> list[FrameTraits]:
        return [entry.traits for entry in self.entries]

    def _distances_with(self, traits: FrameTraits) -> NDArray[np.float64]:
        """(M + 1, M + 1) distances between the entries, and of another frame in the last row and column."""
        count = len(self.entries)
        distances = np.full((count + 1, count + 1), np.inf)
        distances[:count, :count] = self._distances
        if count:
            positions = np.stack([each.position for each in self._traits]) - traits.position
            descriptors = np.stack([each.descriptor for each in self._traits]) - traits.descriptor
            in_place = np.minimum(np.linalg.norm(positions, axis=1) / DISTANCE_SCALE, 1)
            in_appearance = APPEARANCE_WEIGHT * np.linalg.norm(descriptors, axis=1)
            distances[count, :count] = distances[:count, count] = np.hypot(in_place, in_appearance)
        return distances

    def _remove(self, place: int) -> None:
        self.nbytes -= self.entries.pop(place).frame.nbytes
        self._distances = np.delete(np.delete(self._distances, place, 0), place, 1)


def utility(traits: Sequence[FrameTraits], distances: NDArray[np.float64], config: BufferConfig) -> NDArray[np.float64]:
    """(M,) utilities of M frames, of which (M, M) ``distances`` are known, infinite on the diagonal."""
    nearest = np.sort(distances, axis=1)[:, :2]
    others = np.isfinite(nearest)
    diversity = np.where(others, nearest, 0).sum(1) / np.maximum(others.sum(1), 1)
    histograms = np.stack([each.histogram for each in traits])
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(histograms > 0, histograms * np.log(histograms / histograms.mean(0)), 0.0).sum(1)
    rarity = 1 + RARITY_WEIGHT * np.maximum(divergence, 0)
    admitted = np.array([each.admitted for each in traits], np.float64)
    recency = 0.5 ** ((admitted.max() - admitted) / config.half_life) if config.half_life else 1.0
    return (diversity + _LEAST_DIVERSITY) * rarity * recency
