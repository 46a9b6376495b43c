"""Masks on disk: a frame's masks read from their shard and found at the points that a camera sees. One core."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.timing import cpu_milliseconds
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry import CameraModel
from sam_adapt_ros.masks import MaskSet, SeenPoints
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_shards import MaskShard

STORED, POINTS, FRAMES = 100, 3_000, 16  # masks and points of a frame, frames of a shard
HEIGHT, WIDTH = 900, 1600


class _Blobs:
    """100 smooth masks of an image of 1600 x 900 pixels, as large as SAM's: radii of 15 to 250 pixels."""

    name = "sam"
    min_points = 1

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        counts, areas = [], []
        for _ in range(STORED):
            wave = 1 + 0.25 * np.sin(rng.integers(2, 6) * angle + rng.uniform(0, 6))
            outline = rng.uniform(15, 250) * wave * np.stack([np.cos(angle), np.sin(angle)])
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            cv2.fillPoly(mask, [(outline.T + rng.uniform((0, 0), (WIDTH, HEIGHT))).astype(np.int32)], 1)
            counts.append(coco.encode(np.asfortranarray(mask))["counts"].decode())
            areas.append(mask.sum())
        scores = np.full(STORED, 0.9, np.float32)
        self.masks = ImageMasks((HEIGHT, WIDTH), tuple(counts), np.array(areas, np.float64), scores)

    def image_masks(self, image: NDArray[np.uint8]) -> ImageMasks:
        return self.masks

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        return self.masks.at(seen, self.name, 1)


def run(quick: bool = False) -> list[Figure]:
    """quick: fewer repetitions."""
    rng = np.random.default_rng(1)
    uv = rng.uniform((0, 0), (WIDTH - 1, HEIGHT - 1), (POINTS, 2)).astype(np.float32)
    seen = SeenPoints(np.zeros((POINTS, 3), np.float32), np.arange(POINTS), uv, np.ones(POINTS, np.float32))
    view = CameraView("front", 0, np.zeros((1, 1, 3), np.uint8), CameraModel(WIDTH, HEIGHT, np.eye(3)), np.eye(4))
    shard, generator = MaskShard("sam"), _Blobs()
    for frame in range(FRAMES):
        shard.add(str(frame), view, seen, generator)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.npz"
        shard.save(path)

        def read() -> None:
            stored = MaskShard.load(path)
            for frame in range(FRAMES):
                stored.at(str(frame), "front", seen, 1)

        each = cpu_milliseconds(read, 5 if quick else 21) / FRAMES
        size = path.stat().st_size / FRAMES / 1e3
    note = f"{STORED} masks of {WIDTH}x{HEIGHT} at {POINTS} points, {size:.0f} kB a frame, {FRAMES} frames a shard"
    return [Figure("masks: read from disk and found at the points, a frame", each, "ms", "<= 2 ms", note)]
