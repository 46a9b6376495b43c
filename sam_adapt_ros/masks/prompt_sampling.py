"""Which LiDAR points to prompt with: farthest-point sampling over image and depth, weighted by where masks lack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class PromptSpread:
    """Picks points one after another, each where the distance to all picked before, times its weight, is largest.

    Points of one surface in one part of the image are near each other; a pole in front of a wall is not near the wall.
    """

    def __init__(self, uv: NDArray[np.float32], depth: NDArray[np.float32], width: int, depth_weight: float) -> None:
        """uv: (V, 2) pixels; depth: (V,) metres; width: the image's, pixels; depth_weight: image widths that a depth
        e times larger is worth."""
        logarithm = np.log(np.maximum(depth, np.float32(0.1)))
        self._place = np.column_stack([uv / np.float32(width), np.float32(depth_weight) * logarithm]).astype(np.float32)
        # Before any pick: the point farthest from the middle comes first, or any if all are at one place.
        self._apart = (
            self._distance(self._place.mean(axis=0)) + np.float32(1e-6) if len(uv) else np.zeros(0, np.float32)
        )
        self._begun = False

    def next(self, count: int, weight: NDArray[np.float32]) -> NDArray[np.int64]:
        """Up to ``count`` rows not picked before (ties: the lowest); fewer when all other points are at picked places.

        weight: (V,) of each point now, greater than 0 for points that may be picked.
        """
        picked: list[int] = []
        while len(picked) < count and len(self._apart):
            best = int((self._apart * weight).argmax())
            if self._apart[best] * weight[best] <= 0:
                break
            picked.append(best)
            away = self._distance(self._place[best])
            self._apart = np.minimum(self._apart, away) if self._begun else away
            self._begun = True
        return np.array(picked, np.int64)

    def _distance(self, place: NDArray[np.float32]) -> NDArray[np.float32]:
        difference = self._place - place
        return np.sqrt(np.einsum("ij,ij->i", difference, difference))
