"""LiDAR files that are rows of float32 without a header: how many numbers a row has, and what they are.

KITTI's rows are x y z intensity, nuScenes' have a ring, too; data sets in the form of one may have the rows of the
other. Read with the wrong width, points are scrambled without an error, so the width is checked against the content.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam_adapt_ros.datasets.files import read_file
from sam_adapt_ros.datasets.recording import SensorFile, Sweep, check_label_count
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.notices import Notices

PointFields = Mapping[str, DTypeLike]

_POINT: dict[str, DTypeLike] = dict.fromkeys(("x", "y", "z", "intensity"), np.float32)
KITTI_FIELDS: PointFields = _POINT
NUSCENES_FIELDS: PointFields = {**_POINT, "ring": np.uint16}
_UNKNOWN_FIELDS: PointFields = {**_POINT, "extra": np.float32}
_FORMS = (KITTI_FIELDS, NUSCENES_FIELDS)
_WIDTHS = range(3, 9)  # that the content is compared with
_COMPARED = 200_000  # numbers of the first file
_FEWEST_ROWS = 16  # that say something
_CLEARLY, _RATHER = 0.5, 0.85  # of two widths' mean differences; the second where the files' sizes fit both
_FARTHEST = 1000.0  # a difference of two numbers counts at most this


@dataclass(frozen=True)
class ScanRows:
    """The ``SweepFormat`` of such files.

    fields: of a point by the data set's description. read_labels: the ids in a file of labels, one a point; None: there
    are no labels.
    """

    fields: PointFields
    read_labels: Callable[[Path], NDArray[Any]] | None = None

    def fitted(self, files: Sequence[SensorFile], notices: Notices) -> ScanRows:
        """With the fields that the files have, see ``scan_fields``."""
        return replace(self, fields=scan_fields([file.path for file in files], self.fields, notices))

    def read(self, file: SensorFile) -> Sweep:
        fields = columns(read_file(file.path), self.fields, file.path)
        if file.labels is None or self.read_labels is None:
            return Sweep(fields)
        labels = self.read_labels(file.labels)
        check_label_count(file.labels, labels, len(fields["x"]))
        return Sweep(fields, labels)


def scan_fields(paths: Sequence[Path], documented: PointFields, notices: Notices) -> PointFields:
    """The fields of a point in a recording's LiDAR files, and the type that each has in a point cloud.

    paths: the files. documented: the fields by the data set's description. notices: is told where they differ.
    Raises BagError that names the first file when its rows are neither KITTI's nor nuScenes'.
    """
    data = read_file(paths[0])
    numbers = np.frombuffer(data[: len(data) // 4 * 4], "<f4")
    width = _width(paths, numbers, len(documented))
    fields = next(form for form in _FORMS if len(form) == width)
    if fields is NUSCENES_FIELDS:
        last = numbers[: len(numbers) // width * width].reshape(-1, width)[:, -1]
        ring = np.nan_to_num(last, nan=-1.0).clip(-1, np.iinfo(np.uint16).max)
        if (last != np.floor(ring)).any() or (ring < 0).any():
            fields = _UNKNOWN_FIELDS
    if fields != documented:
        notices.add(
            f"point_fields:{paths[0].parent.name}",
            f"{paths[0]}: rows of {len(documented)} float32 ({' '.join(documented)}) expected; "
            f"taken as rows of {width} ({' '.join(fields)})",
        )
    return fields


def columns(data: bytes, fields: PointFields, path: Path) -> dict[str, NDArray]:
    """The points of a file, (N,) by field. Raises BagError that names the file when it is not rows of the fields."""
    if len(data) % (4 * len(fields)):
        raise BagError(f"{path}: rows of {len(fields)} float32 expected, got {len(data)} bytes")
    rows = np.frombuffer(data, "<f4").reshape(-1, len(fields))
    with np.errstate(invalid="ignore"):  # a ring that is not a number
        return {name: column.astype(dtype) for (name, dtype), column in zip(fields.items(), rows.T, strict=True)}


def _width(paths: Sequence[Path], numbers: NDArray[np.float32], documented: int) -> int:
    """Numbers in a row: by the content of the first file where it is clear, else by the sizes of all files."""
    differences = _differences(numbers)
    best = min(differences, key=differences.__getitem__)
    if differences[best] < _CLEARLY * differences[documented]:
        if best not in map(len, _FORMS):
            raise BagError(
                f"{paths[0]}: rows of {documented} float32 expected, but its numbers repeat in rows of {best}; "
                "write x y z intensity, or x y z intensity ring"
            )
        return best
    other = next(len(form) for form in _FORMS if len(form) != documented)
    sizes = np.array([path.stat().st_size for path in paths if os.path.isfile(path)])  # noqa: PTH113 (odd names)
    if (sizes % (4 * other)).any() or differences[documented] < _CLEARLY * differences[other]:
        return documented
    fits = not (sizes % (4 * documented)).any()
    return documented if fits and differences[other] >= _RATHER * differences[documented] else other


def _differences(numbers: NDArray[np.float32]) -> dict[int, float]:
    """Mean difference of two numbers that are a row apart, by the row's width; all alike where there are too few.

    Numbers of one field differ less from each other than from another field's (their energy distance is not negative,
    Szekely and Rizzo, 2004), and far less where neighbouring points are neighbours in space.
    """
    if len(numbers) < _FEWEST_ROWS * max(_WIDTHS):
        return dict.fromkeys(_WIDTHS, 0.0)
    limit = np.float32(_FARTHEST)
    some = np.nan_to_num(numbers[:_COMPARED], nan=0.0, posinf=limit, neginf=-limit).clip(-limit, limit)
    return {width: float(np.abs(some[width:] - some[:-width]).mean()) for width in _WIDTHS}
