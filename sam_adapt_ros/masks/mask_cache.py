"""A cache of masks on disk, so that a second pass over a drive does not compute them again.

Each entry is one compressed ``.npz`` whose name is a hash of all that the masks depend on: the generator, its settings,
the content of a checkpoint, and its input. Masks that depend on the image alone (``sam``) are stored as run lengths
under the image's hash, and serve any sweep and calibration. Of the other generators the membership is stored, as
packed bits.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import MaskConfig
from sam_adapt_ros.errors import MaskError, StoreError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.io.arrays import Arrays, load_arrays, save_arrays
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_generator import ImageMaskGenerator, MaskGenerator
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints

FORMAT = 1  # part of every key; raise it when a generator's rules or constants change

logger = logging.getLogger(__name__)


class CachedGenerator:
    """Another generator with its masks cached in ``config.cache``. An entry that cannot be read is computed again."""

    def __init__(self, generator: MaskGenerator, config: MaskConfig) -> None:
        """Raises MaskError when the folder cannot be created or the checkpoint cannot be read."""
        self._generator = generator
        self.name = generator.name
        self._folder = Path(config.cache)
        self._settings = _settings(self.name, config)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MaskError(
                f"masks.cache: {self._folder}: the folder cannot be created ({error.strerror}); "
                "choose another one, or leave masks.cache empty for no cache"
            ) from None

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        if isinstance(self._generator, ImageMaskGenerator):
            return self._image_masks(self._generator, view.image, seen)
        path = self._path(view.image, view.instances, seen.points, seen.index, seen.uv, seen.depth, labels)
        masks = _mask_set(self._read(path), len(seen), self.name, path)
        if masks is None:
            masks = self._generator(view, seen, labels)
            bits = np.packbits(masks.membership, axis=1)
            self._write(path, {"bits": bits, "areas": masks.areas, "scores": masks.scores})
        return masks

    def _image_masks(self, generator: ImageMaskGenerator, image: NDArray[np.uint8], seen: SeenPoints) -> MaskSet:
        path = self._path(image)
        stored = self._read(path)
        try:
            if stored is not None:
                masks = ImageMasks.from_arrays(stored, (image.shape[0], image.shape[1]))
                return masks.at(seen, self.name, generator.min_points)
        except (KeyError, ValueError, TypeError) as error:
            size = f"{image.shape[0]} x {image.shape[1]}"
            logger.warning("mask cache: %s: not masks of a %s image (%s); computing them again", path, size, error)
        masks = generator.image_masks(image)
        self._write(path, masks.arrays())
        return masks.at(seen, self.name, generator.min_points)

    def _path(self, *arrays: NDArray[Any] | None) -> Path:
        digest = hashlib.blake2b(self._settings, digest_size=20)
        for array in arrays:
            digest.update(b"none" if array is None else f"{array.dtype.str}{array.shape}".encode())
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
        return self._folder / f"{self.name}-{digest.hexdigest()}.npz"

    def _read(self, path: Path) -> Arrays | None:
        try:
            return load_arrays(path)[0]
        except StoreError as error:
            if error.reason != "missing":
                logger.warning("mask cache: %s; computing the masks again", error)
            return None

    def _write(self, path: Path, arrays: Arrays) -> None:
        """Writes an entry. When that fails, a full disk for one, the masks are used all the same."""
        try:
            save_arrays(path, arrays, compress=True)
        except StoreError as error:
            logger.warning("mask cache: masks not stored, so a second pass computes them again: %s", error)


def _settings(name: str, config: MaskConfig) -> bytes:
    """All that a generator's masks depend on besides its input, as bytes to hash."""
    used = {"segments": ["segments"], "regions": ["regions"], "sam": ["sam"], "sam_lidar": ["sam", "sam_lidar"]}
    settings: dict[str, Any] = {"format": FORMAT, "generator": name, "min_points": config.min_points}
    for section in used.get(name, []):
        settings[section] = getattr(config, section).model_dump(exclude={"device", "checkpoint"})
    if "sam" in used.get(name, []):
        checkpoint = Path(config.sam.checkpoint)
        try:
            settings["checkpoint"] = hash_file(checkpoint)
        except OSError as error:
            raise MaskError(f"masks.sam.checkpoint: {checkpoint}: {error.strerror}; check the path") from None
    return json.dumps(settings, sort_keys=True).encode()


def _mask_set(stored: Arrays | None, points: int, source: str, path: Path) -> MaskSet | None:
    if stored is None:
        return None
    try:
        bits, areas, scores = stored["bits"], stored["areas"], stored["scores"]
        if bits.dtype != np.uint8 or bits.shape != (len(areas), (points + 7) // 8):
            raise ValueError(f"bits of {bits.dtype} {bits.shape} for {len(areas)} masks")
        membership = np.unpackbits(bits, axis=1, count=points).astype(bool)
        return MaskSet(membership, areas, (source,) * len(areas), scores)
    except (KeyError, ValueError, TypeError) as error:
        logger.warning("mask cache: %s: not masks of %d points (%s); computing them again", path, points, error)
        return None
