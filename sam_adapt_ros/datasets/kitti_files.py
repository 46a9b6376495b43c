"""The text files of KITTI raw: calibration and time stamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.files import read_file
from sam_adapt_ros.errors import BagError


def read_calibration_file(path: Path) -> dict[str, NDArray[np.float64]]:
    """The numbers by name of the lines ``name: numbers``; other lines (``calib_time``) are left out."""
    values = {}
    for line in read_file(path).decode("utf-8", "replace").splitlines():
        name, _, text = line.partition(":")
        try:
            values[name.strip()] = np.array([float(word) for word in text.split()])
        except ValueError:
            continue
    return values


def field(values: dict[str, NDArray[np.float64]], name: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    """One field in its shape. Raises BagError that names file and field."""
    if name not in values:
        raise BagError(f"{path}: field {name} is missing")
    if values[name].size != np.prod(shape):
        raise BagError(f"{path}: field {name}: {np.prod(shape)} numbers expected, got {values[name].size}")
    return values[name].reshape(shape)


def rigid(values: dict[str, NDArray[np.float64]], path: Path) -> NDArray[np.float64]:
    """The (4, 4) transform of the fields R (3 x 3) and T [m]. Raises BagError as ``field``."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = field(values, "R", (3, 3), path), field(values, "T", (3,), path)
    return T


def read_timestamps(path: Path) -> list[int]:
    """The stamps [ns] of a ``timestamps.txt``, one per line (UTC): the line's number is that of the file."""
    stamps = []
    for number, line in enumerate(read_file(path).decode("ascii", "replace").splitlines(), 1):
        if line.strip():
            try:
                stamps.append(int(np.datetime64(line.strip().replace(" ", "T"), "ns").astype(np.int64)))
            except ValueError:
                raise BagError(f"{path}:{number}: a time stamp expected, got {line!r}") from None
    return stamps
