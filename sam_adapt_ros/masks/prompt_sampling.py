"""Which LiDAR points to prompt with: farthest-point sampling over image and depth, weighted where masks are missing.

Farthest-point sampling is Eldar et al.: The Farthest Point Strategy for Progressive Image Sampling (IEEE Transactions
on Image Processing, 1997).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class PromptSpread:
    """Picks points one after another: each time the one with the largest weighted distance to all picked before.

    The distance is Euclidean over (u, v, weighted logarithm of depth), so that a pole is far from the wall behind it.
    """

    def __init__(self, uv: NDArray[np.float32], depth: NDArray[np.float32], width: int, depth_weight: float) -> None:
        """
        Args:
            uv: (V, 2) pixels of the points.
            depth: (V,) metres.
            width: of the image, pixels.
            depth_weight: distance, in image widths, of two depths that differ by a factor of e.
        """
        logarithm = np.log(np.maximum(depth, np.float32(0.1)))
        self._place = np.column_stack([uv / np.float32(width), np.float32(depth_weight) * logarithm]).astype(np.float32)
        # The first pick is the point farthest from the mean; the small offset allows a pick when all are at one place.
        self._apart = (
            self._distance(self._place.mean(axis=0)) + np.float32(1e-6) if len(uv) else np.zeros(0, np.float32)
        )
        self._begun = False

    def next(self, count: int, weight: NDArray[np.float32]) -> NDArray[np.int64]:
        """Picks up to ``count`` more rows (ties: the lowest); fewer when all remaining points are at picked places.

        Args:
            weight: (V,) factor on each point's distance; points with weight 0 are not picked.
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
