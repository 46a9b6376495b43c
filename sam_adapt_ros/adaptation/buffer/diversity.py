"""Which frames to keep of a stream: those that together cover what was driven through and seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.stored_frame import StoredFrame
from sam_adapt_ros.config import BufferConfig


@dataclass(frozen=True, eq=False)
class Traits:
    """What a frame's worth is judged by.

    position: (2,) metres on the map. descriptor: (D,) of what is predicted and seen, at most 1 apart or so.
    histogram: (C,) shares of the predicted classes. admitted: how many frames had been admitted when it came.
    """

    position: NDArray[np.float64]
    descriptor: NDArray[np.float64]
    histogram: NDArray[np.float64]
    admitted: int


@dataclass(frozen=True, eq=False)
class Entry:
    """A kept frame. key: rises from frame to frame and is never given twice."""

    key: int
    frame: StoredFrame
    traits: Traits


class Cover:
    """Keeps the entries of greatest worth within limits on their number and bytes.

    An entry's worth is its mean distance to the two nearest others, by place and by look (to the nearest alone, all of
    an even chain would be worth the same, and its oldest end would go instead of every other link); times 1 plus the
    divergence of its classes from those of all entries, so that rare classes stay; halved with every half-life since.
    """

    def __init__(self, config: BufferConfig, max_frames: int, max_bytes: int) -> None:
        self._config = config
        self.max_frames, self.max_bytes = max_frames, max_bytes
        self.entries: list[Entry] = []
        self._distances = np.zeros((0, 0))  # between entries; infinite on the diagonal
        self.nbytes = 0

    def wants(self, traits: Traits) -> bool:
        """Whether a frame with these traits would be kept, its bytes aside."""
        if self.max_frames < 1:
            return False
        if len(self.entries) < self.max_frames:
            return True
        everyone = [*(entry.traits for entry in self.entries), traits]
        return self._weakest(everyone, self._distances_with(traits)) < len(self.entries)

    def add(self, entry: Entry) -> bool:
        """Keeps an entry at the cost of weaker ones; False when it is the weakest itself or larger than the limit."""
        if entry.frame.nbytes > self.max_bytes or self.max_frames < 1:
            return False
        self._distances = self._distances_with(entry.traits)
        self.entries.append(entry)
        self.nbytes += entry.frame.nbytes
        while len(self.entries) > self.max_frames or self.nbytes > self.max_bytes:
            self._remove(self._weakest([other.traits for other in self.entries], self._distances))
        return any(other is entry for other in self.entries)

    def _weakest(self, traits: list[Traits], distances: NDArray[np.float64]) -> int:
        config = self._config
        nearest = np.sort(distances, axis=1)[:, :2]
        others = np.isfinite(nearest)
        mean_distance = np.where(others, nearest, 0).sum(1) / np.maximum(others.sum(1), 1)
        worth = mean_distance + 1e-6  # so that rarity and age decide between copies
        histograms = np.stack([each.histogram for each in traits])
        mean = histograms.mean(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            divergence = np.where(histograms > 0, histograms * np.log(histograms / mean), 0.0).sum(1)
        worth *= 1 + config.class_balance * np.maximum(divergence, 0)
        if config.half_life:
            admitted = np.array([each.admitted for each in traits], np.float64)
            worth *= 0.5 ** ((admitted.max() - admitted) / config.half_life)
        return int(np.argmin(worth))

    def _distances_with(self, traits: Traits) -> NDArray[np.float64]:
        """(M + 1, M + 1): the entries', and those of another frame in the last row and column."""
        count = len(self.entries)
        distances = np.full((count + 1, count + 1), np.inf)
        distances[:count, :count] = self._distances
        if count:
            positions = np.stack([entry.traits.position for entry in self.entries]) - traits.position
            descriptors = np.stack([entry.traits.descriptor for entry in self.entries]) - traits.descriptor
            near = np.minimum(np.linalg.norm(positions, axis=1) / self._config.distance_scale, 1)
            alike = self._config.novelty * np.linalg.norm(descriptors, axis=1)
            distances[count, :count] = distances[:count, count] = np.hypot(near, alike)
        return distances

    def _remove(self, place: int) -> None:
        self.nbytes -= self.entries.pop(place).frame.nbytes
        self._distances = np.delete(np.delete(self._distances, place, 0), place, 1)
