"""Images of data sets as arrays, and label images, whose colours are classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam_adapt_ros.datasets.files import read_file
from sam_adapt_ros.errors import BagError, MessageError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.messages.image_file import decode_file, file_size

Color = tuple[int, int, int]
_PLACES = np.array((1 << 16, 1 << 8, 1))
_SHOWN = 5


def read_image(path: Path, camera: CameraModel, dtype: DTypeLike = np.uint8) -> NDArray:
    """The pixels of an image that is as large as the camera's: (H, W, 3) uint8 RGB, or (H, W) uint16.

    Raises BagError that names the file when it is missing, cut short, damaged, no JPEG or PNG, of another size, or has
    other numbers; the size is looked at before anything is decoded.
    """
    data = read_file(path)
    expected = (camera.width, camera.height)
    if (size := file_size(data)) not in (None, expected):
        raise BagError(f"{path}: {size[0]} x {size[1]}, but the calibration is of {expected[0]} x {expected[1]}")
    colored = np.dtype(dtype) == np.uint8
    flags = (cv2.IMREAD_COLOR if colored else cv2.IMREAD_UNCHANGED) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = decode_file(data, path.suffix.removeprefix("."), flags)
    except MessageError as error:
        raise BagError(f"{path}: {error}") from None
    if colored:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    if pixels.dtype != dtype or pixels.ndim != 2:
        raise BagError(f"{path}: one {np.dtype(dtype)} a pixel expected, got {pixels.dtype} of shape {pixels.shape}")
    return pixels


class LabelColors:
    """The ids of colours."""

    def __init__(self, path: Path, ids: Mapping[Color, int]) -> None:
        """path: the file that explains the colours. ids: below 256, by red, green and blue."""
        self._path = path
        packed = np.array(list(ids), np.int64) @ _PLACES
        order = np.argsort(packed)
        self._packed, self._ids = packed[order], np.array(list(ids.values()), np.uint8)[order]

    def ids_of(self, colors: NDArray[np.uint8], image: Path) -> NDArray[np.uint8]:
        """(N,) ids of (N, 3) RGB colours. Raises BagError that names the image at a colour that is not explained."""
        packed = colors.astype(np.int64) @ _PLACES
        place = np.minimum(np.searchsorted(self._packed, packed), len(self._packed) - 1)
        if (unknown := self._packed[place] != packed).any():
            some = np.unique(packed[unknown])
            shown = ", ".join(f"#{color:06x}" for color in some[:_SHOWN]) + (", ..." if len(some) > _SHOWN else "")
            count = f"at {np.count_nonzero(unknown)} of {len(packed)} points"
            raise BagError(f"{image}: colours of {self._path.name} expected, got {shown} {count}")
        return self._ids[place]
