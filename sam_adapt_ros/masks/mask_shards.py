"""The masks of many frames on disk, by frame and camera: a shard is one file with the run lengths of several frames.

Other than the cache by content, which serves whoever meets the same image again, shards serve one data set: nothing is
hashed, no image is decoded, and a frame's masks are read in a fraction of a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.io.arrays import Arrays, load_arrays, save_arrays
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_generator import ImageMaskGenerator, MaskGenerator
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints


class MaskShard:
    """The masks that one generator makes of several frames' views.

    generator: its name. Masks of the image alone are kept for any points, others at the points that the camera sees.
    """

    def __init__(self, generator: str) -> None:
        self.generator = generator
        self._views: dict[tuple[str, str], tuple[ImageMasks, bool]] = {}

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Frame and camera of each view, in the order in which they were added."""
        return iter(self._views)

    def add(self, frame: str, view: CameraView, seen: SeenPoints, generator: MaskGenerator) -> int:
        """Makes and keeps the masks of a view of the frame of that id; returns how many. Raises MaskError."""
        if isinstance(generator, ImageMaskGenerator):
            masks, of_image = generator.image_masks(view.image), True
        else:
            masks, of_image = ImageMasks.of_points(generator(view, seen)), False
        self._views[frame, view.name] = masks, of_image
        return len(masks)

    def at(self, frame: str, camera: str, seen: SeenPoints, min_points: int) -> MaskSet:
        """The masks of a view at the points that its camera sees, those with at least ``min_points`` of them.

        Raises StoreError when there are none of this view, or of other points.
        """
        try:
            masks, of_image = self._views[frame, camera]
        except KeyError:
            raise StoreError("missing", f"{self.generator} masks of frame {frame}, camera {camera}: not made") from None
        try:
            if of_image:
                return masks.at(seen, self.generator, min_points)
            if masks.size[0] != len(seen):
                raise ValueError(f"masks of {masks.size[0]} points, the camera sees {len(seen)}")
            return masks.at_all(self.generator, min_points)
        except ValueError as error:
            where = f"{self.generator} masks of frame {frame}, camera {camera}"
            raise StoreError("damaged", f"{where}: {error}; make the masks again") from None

    def save(self, path: Path) -> None:
        """Replaces the file atomically. Raises StoreError, ``disk_full`` for one, that names it."""
        of_views = [masks for masks, _ in self._views.values()]
        counts = [each for masks in of_views for each in masks.counts]
        arrays: Arrays = {
            "counts": np.frombuffer("".join(counts).encode(), np.uint8),
            "lengths": np.array([len(each) for each in counts], np.int64),
            "areas": np.concatenate([np.zeros(0), *(masks.areas for masks in of_views)]),
            "scores": np.concatenate([np.zeros(0, np.float32), *(masks.scores for masks in of_views)]),
        }
        views = [
            {"frame": frame, "camera": camera, "size": masks.size, "masks": len(masks), "of_image": of_image}
            for (frame, camera), (masks, of_image) in self._views.items()
        ]
        save_arrays(path, arrays, {"generator": self.generator, "views": views})

    @classmethod
    def load(cls, path: Path) -> MaskShard:
        """Raises StoreError, ``missing`` or ``damaged``, that names the file."""
        arrays, facts = load_arrays(path)
        try:
            shard = cls(str(facts["generator"]))
            text, bounds = arrays["counts"].tobytes().decode("ascii"), np.cumsum([0, *arrays["lengths"]])
            counts = [text[start:end] for start, end in pairwise(bounds)]
            views = facts["views"]
            ends = list(accumulate((int(view["masks"]) for view in views), initial=0))
            if bounds[-1] != len(text) or not len(counts) == ends[-1] == len(arrays["areas"]) == len(arrays["scores"]):
                raise ValueError("arrays of different lengths")
            for view, start, end in zip(views, ends[:-1], ends[1:], strict=True):
                height, width = view["size"]
                own = slice(start, end)
                masks = ImageMasks((height, width), tuple(counts[own]), arrays["areas"][own], arrays["scores"][own])
                shard._views[view["frame"], view["camera"]] = masks, bool(view["of_image"])
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError("damaged", f"{path}: not a shard of masks ({type(error).__name__}: {error})") from None
        return shard


class StoredMasks:
    """The generator of one frame whose masks were made before, those of several generators one after the other."""

    def __init__(self, shards: Sequence[MaskShard], frame: str, min_points: int) -> None:
        self.name = "+".join(shard.generator for shard in shards)
        self._shards, self._frame, self._min_points = tuple(shards), frame, min_points

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        """Raises StoreError."""
        return MaskSet.concatenate([shard.at(self._frame, view.name, seen, self._min_points) for shard in self._shards])
