"""Masks kept on disk, by content: a second pass over a drive does not make them again.

One compressed .npz a key. A generator whose masks depend on the image alone (``sam``) has them kept as COCO RLE under
the image's hash, so that they serve any sweep and calibration; of the others the memberships are kept, as packed bits,
under the hash of everything that they depend on. Settings, and the content of a checkpoint, are part of every key.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import MaskConfig
from sam_adapt_ros.errors import MaskError, StoreError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.io.arrays import Arrays, load_arrays, save_arrays
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints

if TYPE_CHECKING:
    from sam_adapt_ros.masks.generators import MaskGenerator

FORMAT = 1  # part of every key: to be raised when a generator's rules or constants change

logger = logging.getLogger(__name__)


class CachedGenerator:
    """Another generator's masks, kept in ``config.cache``. An entry that cannot be read is made again."""

    def __init__(self, generator: MaskGenerator, config: MaskConfig) -> None:
        """Raises MaskError when the folder cannot be made."""
        self._generator = generator
        self.name = generator.name
        self._folder = Path(config.cache).expanduser()
        self._settings = _settings(self.name, config)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MaskError(f"masks.cache: {self._folder}: {error.strerror}") from None

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        of_image = getattr(self._generator, "image_masks", None)
        if of_image is not None:
            path = self._path(view.image)
            stored = self._read(path)
            masks = _image_masks(stored, view.image.shape[:2], path)
            if masks is None:
                masks = of_image(view.image)
                self._write(path, masks.arrays())
            return masks.at(seen, self.name, self._generator.min_points)  # type: ignore[attr-defined]
        path = self._path(view.image, view.instances, seen.points, seen.index, seen.uv, seen.depth, labels)
        found = _mask_set(self._read(path), len(seen), self.name, path)
        if found is None:
            found = self._generator(view, seen, labels)
            bits = np.packbits(found.membership, axis=1)
            self._write(path, {"bits": bits, "areas": found.areas, "scores": found.scores})
        return found

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
                logger.warning("%s; the masks are made again", error)
            return None

    def _write(self, path: Path, arrays: Arrays) -> None:
        """Writes an entry. A full disk costs the entry, not the frame."""
        try:
            save_arrays(path, arrays, compress=True)
        except StoreError as error:
            logger.warning("masks not kept in the cache: %s", error)


def _settings(name: str, config: MaskConfig) -> bytes:
    """Whatever a generator's masks depend on besides its input, as bytes."""
    used = {"segments": ["segments"], "regions": ["regions"], "sam": ["sam"], "sam_lidar": ["sam", "sam_lidar"]}
    settings: dict[str, Any] = {"format": FORMAT, "generator": name, "min_points": config.min_points}
    for section in used.get(name, []):
        settings[section] = getattr(config, section).model_dump(exclude={"device", "checkpoint"})
    if "sam" in used.get(name, []):
        checkpoint = Path(config.sam.checkpoint).expanduser()
        try:
            settings["checkpoint"] = hash_file(checkpoint)
        except OSError as error:
            raise MaskError(f"masks.sam.checkpoint: {checkpoint}: {error.strerror}") from None
    return json.dumps(settings, sort_keys=True).encode()


def _image_masks(stored: Arrays | None, size: tuple[int, int], path: Path) -> ImageMasks | None:
    if stored is None:
        return None
    try:
        return ImageMasks.from_arrays(stored, size)
    except (KeyError, ValueError, TypeError) as error:
        logger.warning("%s: not masks of a %s image, made again (%s)", path, size, error)
        return None


def _mask_set(stored: Arrays | None, points: int, source: str, path: Path) -> MaskSet | None:
    if stored is None:
        return None
    try:
        bits, areas, scores = stored["bits"], stored["areas"], stored["scores"]
        if bits.dtype != np.uint8 or bits.shape != (len(areas), (points + 7) // 8):
            raise ValueError(f"bits {bits.dtype} {bits.shape} for {len(areas)} masks of {points} points")
        membership = np.unpackbits(bits, axis=1, count=points).astype(bool)
        return MaskSet(membership, areas, (source,) * len(areas), scores)
    except (KeyError, ValueError, TypeError) as error:
        logger.warning("%s: not masks of %d points, made again (%s)", path, points, error)
        return None
