"""Masks of an image as COCO RLE: run lengths down the columns, a few hundred bytes each instead of a megapixel."""

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
    """M masks of one image.

    size: (H, W) pixels. counts: (M,) compressed COCO run lengths. areas: (M,) float64 pixels.
    scores: (M,) float32 quality, NaN where there is none.
    """

    size: tuple[int, int]
    counts: tuple[str, ...]
    areas: NDArray[np.float64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.counts)

    def mask(self, number: int) -> NDArray[np.bool_]:
        """(H, W) bool: one mask at full resolution."""
        return coco.decode({"size": list(self.size), "counts": self.counts[number].encode()}).astype(bool)

    def at(self, seen: SeenPoints, source: str, min_points: int) -> MaskSet:
        """Which of the seen points' pixels are on which mask; one mask at full resolution at a time."""
        rows, columns = seen.pixels(*self.size)
        membership = np.zeros((len(self), len(seen)), bool)
        for number in range(len(self)):
            membership[number] = self.mask(number)[rows, columns]
        return MaskSet(membership, self.areas, (source,) * len(self), self.scores).holding(min_points)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays that a file without pickled objects can hold."""
        text = np.frombuffer(json.dumps(self.counts).encode(), np.uint8)
        return {"size": np.array(self.size), "counts": text, "areas": self.areas, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], size: tuple[int, int]) -> ImageMasks:
        """From ``arrays``; ValueError or KeyError when they are not M masks of an image of that size."""
        counts = tuple(json.loads(arrays["counts"].tobytes()))
        areas, scores = arrays["areas"], arrays["scores"]
        if tuple(arrays["size"].tolist()) != size:
            raise ValueError(f"size {tuple(arrays['size'].tolist())}")
        if areas.shape != (len(counts),) or scores.shape != (len(counts),):
            raise ValueError(f"{len(counts)} masks, areas {areas.shape}, scores {scores.shape}")
        return cls(size, counts, areas, scores)
