"""The text files of KITTI: calibration and time stamps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.files import read_text
from sam_adapt_ros.errors import BagError, CalibrationError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.transforms import Transform, invert, is_rotation, make_transform, quaternion_from_matrix
from sam_adapt_ros.messages.calibration_file import CameraCalibration
from sam_adapt_ros.messages.stamps import LATEST_NS

LIDAR_HEIGHT = 1.73
"""Metres (Geiger et al., figure 3)."""
T_BASE_LIDAR = make_transform((0.0, 0.0, LIDAR_HEIGHT), (0.0, 0.0, 0.0, 1.0))
CAMERAS = {"02": "CAM_FRONT", "03": "CAM_FRONT_RIGHT"}
"""The colour pair by number; the grey pair sees the same."""
_LARGEST_BASELINE = 100.0  # metres
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


def rigid_rows(values: dict[str, NDArray[np.float64]], name: str, path: Path) -> NDArray[np.float64]:
    """The (4, 4) transform of a field that is its upper 3 x 4 numbers. Raises BagError as ``field``."""
    rows = field(values, name, (3, 4), path)
    if not is_rotation(rows[:, :3]):
        raise BagError(f"{path}: field {name}: a rotation and a translation expected, got {rows.tolist()}")
    return exact(np.vstack([rows, (0, 0, 0, 1)]))


def exact(T: NDArray[np.float64]) -> Transform:
    """The files' rounding leaves rotations that are not quite ones; what is passed on must be."""
    return make_transform(T[:3, 3].tolist(), quaternion_from_matrix(T))


def rectified_camera(
    name: str, P: NDArray[np.float64], size: tuple[int, int], T_cam0_lidar: Transform, path: Path, fields: str
) -> CameraCalibration:
    """A rectified camera on a vehicle whose base is on the ground below the LiDAR and has its axes.

    name: of the camera. P: (3, 4) its projection of points in the rectified camera 0. size: width and height in pixels.
    T_cam0_lidar: LiDAR -> rectified camera 0. path, fields: where P (the first field) and size are from, for errors.
    Raises BagError that names them.
    """
    try:
        model = CameraModel(*size, P[:, :3])
    except CalibrationError as error:
        raise BagError(f"{path}: {fields}: {error}") from None
    T_cam_cam0 = np.eye(4)  # P = K [I | t]: t moves from the rectified camera 0 to this one
    with np.errstate(all="ignore"):
        T_cam_cam0[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
    if not np.abs(T_cam_cam0[:3, 3]).max() < _LARGEST_BASELINE:
        first = fields.split(", ")[0]
        raise BagError(f"{path}: {first}: K [I | t] with t in metres expected, got {P.tolist()}")
    return CameraCalibration(name, T_BASE_LIDAR @ invert(exact(T_cam_cam0 @ T_cam0_lidar)), model)


def read_rows(path: Path, count: int, scans: Mapping[int, Path]) -> dict[int, NDArray[np.float64]]:
    """(count,) numbers by scan, from a file whose n-th line is that of scan n - 1.

    scans: files by number; the lines of others are not looked at. Raises BagError that names the line.
    """
    lines = read_text(path).splitlines()
    rows = {}
    for number, scan in scans.items():
        if number >= len(lines):
            raise BagError(f"{path}: no line for {scan.name}: {number + 1} lines expected, got {len(lines)}")
        try:
            rows[number] = np.array([float(word) for word in lines[number].split()])
        except ValueError:
            rows[number] = np.zeros(0)
        if rows[number].shape != (count,) or not np.isfinite(rows[number]).all():
            raise BagError(f"{path}:{number + 1}: {count} finite numbers expected, got {lines[number][:60]!r}")
    return rows


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
