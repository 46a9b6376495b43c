"""A recorded drive as the files of its sensors: one form for all data sets.

The frames' names are the same for all of them, after REP 105: ``map`` -> ``odom`` -> ``base_link`` -> ``LIDAR_TOP`` and
one optical frame per camera. The camera that looks ahead is ``CAM_FRONT`` in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages.calibration_file import Calibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

MAP, ODOMETRY, BASE, LIDAR = "map", "odom", "base_link", "LIDAR_TOP"
FRONT = "CAM_FRONT"


@dataclass(frozen=True, slots=True, eq=False)
class SensorFile:
    """One sweep or image.

    sensor: frame of the LiDAR, or name of the camera in the calibration. T_odom_base: (4, 4) pose of the vehicle at the
    stamp; None where it is not known. labels: file of the sweep's labels; None where there is none. frame: what the
    data set calls the frame (a sweep and its images) that the file belongs to; "": it belongs to none.
    """

    stamp_ns: int
    sensor: str
    path: Path
    T_odom_base: Transform | None
    labels: Path | None = None
    frame: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the file and of its labels, which may be the same."""
        return (self.path,) if self.labels in (None, self.path) else (self.path, self.labels)


@dataclass(frozen=True, eq=False)
class Sweep:
    """The content of a LiDAR's file and of its labels.

    fields: (N,) by name, in the order of the point cloud's; x, y and z are float32 metres in the LiDAR's frame.
    labels: (N,) ids of the data set, as the class sets' mappings name them; None where the sweep has none.
    """

    fields: Mapping[str, NDArray[Any]]
    labels: NDArray[np.integer] | None = None

    @property
    def points(self) -> NDArray[np.float32]:
        """(N, 3) metres."""
        return np.stack([self.fields[axis] for axis in "xyz"], axis=1).astype(np.float32, copy=False)


class SweepFormat(Protocol):
    """How a data set's LiDAR files and labels are read. Pickled into worker processes."""

    def fitted(self, files: Sequence[SensorFile], notices: Notices) -> SweepFormat:
        """The format as the files of a recording have it, where they may differ from its description.

        files: all sweeps of the recording. notices: is told of what differs. Raises BagError that names the file.
        """

    def read(self, file: SensorFile) -> Sweep:
        """One sweep with its labels. Raises BagError that names the file, what was expected and what came."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A drive without a break.

    calibration: of all its sensors. files: in the order of their stamps. sweep_format: of the LiDAR's files.
    T_map_odom: (4, 4), where the data set knows a map. label_colors: (L, 3) uint8 RGB by id of the labels, for viewers;
    L is larger than any id.
    """

    name: str
    calibration: Calibration
    files: Sequence[SensorFile]
    sweep_format: SweepFormat
    T_map_odom: Transform | None = None
    label_colors: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((256, 3), np.uint8))

    @property
    def sweeps(self) -> list[SensorFile]:
        """The LiDAR's files."""
        return [file for file in self.files if file.sensor == LIDAR]

    @property
    def paths(self) -> Iterator[Path]:
        """Of sweeps, images and labels."""
        return (path for file in self.files for path in file.paths)


def check_label_count(path: Path, labels: NDArray[Any], points: int) -> None:
    """Raises BagError when there is not one label a point. path: of the labels."""
    if len(labels) != points:
        raise BagError(f"{path}: {points} labels expected, got {len(labels)}")


@cache
def label_colors(taxonomy: str, mapping: str) -> NDArray[np.uint8]:
    """(L, 3) uint8 RGB by a data set's ids: the colours of their classes in a class set."""
    classes = Taxonomy.load(taxonomy)
    return classes.colors[classes.lookup(mapping)[: max(255, *classes.mappings[mapping]) + 1]]
