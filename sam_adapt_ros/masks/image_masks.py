"""Masks of an image as run lengths in the COCO format (Lin et al.: Microsoft COCO, ECCV 2014; pycocotools).

A run-length encoded mask takes a few hundred bytes, where the full mask takes a megabyte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints


@dataclass(frozen=True, eq=False)
class ImageMasks:
    """M masks of one image, or of the points that a camera sees, see ``of_points``.

    size: (H, W) pixels. counts: (M,) compressed COCO run lengths. areas: (M,) float64 pixels.
    scores: (M,) float32 quality, NaN where there is none.
    """

    size: tuple[int, int]
    counts: tuple[str, ...]
    areas: NDArray[np.float64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def of_points(cls, masks: MaskSet) -> ImageMasks:
        """Masks that are known at the V points of a ``MaskSet`` alone, as those of an image of V x 1 pixels."""
        columns = np.asfortranarray(masks.membership.T[:, None, :], np.uint8)  # (V, 1, M)
        counts = tuple(each["counts"].decode() for each in coco.encode(columns)) if len(masks) else ()
        return cls((len(columns), 1), counts, masks.areas, masks.scores)

    def at_all(self, source: str, min_points: int) -> MaskSet:
        """What ``of_points`` was made of."""
        return self._at(np.arange(self.size[0]), np.zeros(self.size[0], np.int64), source, min_points)

    def mask(self, number: int) -> NDArray[np.bool_]:
        """One mask at full resolution: (H, W) bool."""
        return coco.decode({"size": list(self.size), "counts": self.counts[number].encode()}).astype(bool)

    def at(self, seen: SeenPoints, source: str, min_points: int) -> MaskSet:
        """The masks with at least ``min_points`` seen points on them.

        Raises ValueError when the run lengths are not those of an image of ``size``.
        """
        return self._at(*seen.pixels(*self.size), source, min_points)

    def _at(self, rows: NDArray[np.int64], columns: NDArray[np.int64], source: str, min_points: int) -> MaskSet:
        # Imported here: importing Numba takes a quarter of a second.
        from sam_adapt_ros.masks.run_lengths import lookup

        membership = lookup(self.counts, self.size, rows, columns)
        return MaskSet(membership, self.areas, (source,) * len(self), self.scores).with_at_least(min_points)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The masks as plain arrays, which ``io.arrays`` can write; see ``from_arrays``."""
        text = np.frombuffer(json.dumps(self.counts).encode(), np.uint8)
        return {"size": np.array(self.size), "counts": text, "areas": self.areas, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], size: tuple[int, int]) -> ImageMasks:
        """The masks that ``arrays`` gave.

        Raises:
            KeyError, ValueError: they are not masks of an image of ``size`` (H, W) pixels.
        """
        counts = tuple(json.loads(arrays["counts"].tobytes()))
        areas, scores = arrays["areas"], arrays["scores"]
        if tuple(arrays["size"].tolist()) != size:
            raise ValueError(f"masks of an image of {tuple(arrays['size'].tolist())} pixels")
        if areas.shape != (len(counts),) or scores.shape != (len(counts),):
            raise ValueError(f"{len(counts)} masks, areas {areas.shape}, scores {scores.shape}")
        return cls(size, counts, areas, scores)
