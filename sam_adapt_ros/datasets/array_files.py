"""NumPy files of data sets. Nothing is unpickled."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.files import read_file
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.io.arrays import UNREADABLE


def read_npy(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file. Raises BagError that names the file when it is missing or damaged."""
    data = read_file(path)
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except UNREADABLE as error:
        raise _damaged(path, error) from None


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Those arrays of an ``.npz`` file that it has; others are not decompressed. Raises BagError as ``read_npy``."""
    data = read_file(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file.files}
    except UNREADABLE as error:
        raise _damaged(path, error) from None


def numbers(values: NDArray[Any], shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    """An array of numbers as float64; -1 in ``shape``: of any length. Raises BagError that begins with ``what``."""
    fits = values.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, values.shape, strict=True))
    if not fits or values.dtype.kind not in "fiu":
        expected = " x ".join("N" if size < 0 else str(size) for size in shape)
        raise BagError(f"{what}: {expected} numbers expected, got {values.dtype} of shape {values.shape}")
    return values.astype(np.float64)


def _damaged(path: Path, error: BaseException) -> BagError:
    return BagError(f"{path}: cannot be read ({type(error).__name__}: {str(error)[:200]})")
