"""The text files of KITTI raw: calibration and time stamps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.files import read_text
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.transforms import is_rotation
from sam_adapt_ros.messages.stamps import LATEST_NS

_TIME = re.compile(r"((?:19[7-9]|20[0-3])[0-9]-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)")


def read_calibration_file(path: Path) -> dict[str, NDArray[np.float64]]:
    """The numbers by name of the lines ``name: numbers``; other lines (``calib_time``) are left out."""
    values = {}
    for line in read_text(path).splitlines():
        name, _, text = line.partition(":")
        try:
            values[name.strip()] = np.array([float(word) for word in text.split()])
        except ValueError:
            continue
    return values


def field(values: dict[str, NDArray[np.float64]], name: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    """One field in its shape. Raises BagError that names file and field."""
    if name not in values:
        raise BagError(f"{path}: field {name} is missing, or not all numbers")
    if values[name].size != np.prod(shape):
        raise BagError(f"{path}: field {name}: {np.prod(shape)} numbers expected, got {values[name].size}")
    if not np.isfinite(values[name]).all():
        raise BagError(f"{path}: field {name}: finite numbers expected, got {values[name].tolist()}")
    return values[name].reshape(shape)


def rotation(values: dict[str, NDArray[np.float64]], name: str, path: Path) -> NDArray[np.float64]:
    """A field of 3 x 3 numbers that are a rotation. Raises BagError as ``field``."""
    R = field(values, name, (3, 3), path)
    if not is_rotation(R):
        raise BagError(f"{path}: field {name}: a rotation expected, got {R.tolist()}")
    return R


def rigid(values: dict[str, NDArray[np.float64]], path: Path) -> NDArray[np.float64]:
    """The (4, 4) transform of the fields R (3 x 3) and T [m]. Raises BagError as ``field``."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation(values, "R", path), field(values, "T", (3,), path)
    return T


class Timestamps:
    """The stamps [ns] of a ``timestamps.txt`` (UTC): its n-th line is that of file n - 1.

    Where a file is missing, as the four scans of drive 0009, its line is blank. Raises BagError that names the line
    when it is not a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = read_text(path).splitlines()
        self._count = len(lines)
        self._stamps = {
            number: self._parse(number, line.strip()) for number, line in enumerate(lines) if line.strip("\0 \t\r")
        }

    def of(self, number: int, file: Path) -> int:
        """The stamp of a file by its number. Raises BagError that names both files when there is none."""
        if number not in self._stamps:
            at = f"line {number + 1} is blank" if number < self._count else f"{self._count} lines"
            raise BagError(f"{self._path}: no time stamp for {file.name} ({at})")
        return self._stamps[number]

    def _parse(self, number: int, line: str) -> int:
        matched = _TIME.fullmatch(line)
        try:
            stamp = int(np.datetime64("T".join(matched.groups()), "ns").astype(np.int64)) if matched else LATEST_NS
        except ValueError:  # 99 seconds
            stamp = LATEST_NS
        if stamp >= LATEST_NS:
            raise BagError(f"{self._path}:{number + 1}: a time stamp expected, got {line[:60]!r}")
        return stamp
