"""A recorded drive as the files of its sensors: one form for all data sets.

The frames' names are the same for all of them, after REP 105: ``map`` -> ``odom`` -> ``base_link`` -> ``LIDAR_TOP`` and
one optical frame per camera.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.scan_rows import PointFields
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages.calibration_file import Calibration

MAP, ODOMETRY, BASE, LIDAR = "map", "odom", "base_link", "LIDAR_TOP"


@dataclass(frozen=True, slots=True, eq=False)
class SensorFile:
    """One sweep or image.

    sensor: frame of the LiDAR, or name of the camera in the calibration. T_odom_base: (4, 4) pose of the vehicle at the
    stamp; None where it is not known. labels: file of one uint8 class id per point; None where there is none.
    """

    stamp_ns: int
    sensor: str
    path: Path
    T_odom_base: Transform | None
    labels: Path | None = None


@dataclass(frozen=True, eq=False)
class Recording:
    """A drive without a break.

    calibration: of all its sensors. files: in the order of their stamps. T_map_odom: (4, 4), where the data set knows
    a map. point_fields: fields of a point in the LiDAR's files by the data set's description, see ``scan_rows``.
    label_ids: (256,) uint8, the id that is written for each id of the label files. label_colors: (256, 3) uint8 RGB by
    written id.
    """

    name: str
    calibration: Calibration
    files: Sequence[SensorFile]
    point_fields: PointFields
    T_map_odom: Transform | None = None
    label_ids: NDArray[np.uint8] = field(default_factory=lambda: np.arange(256, dtype=np.uint8))
    label_colors: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((256, 3), np.uint8))

    @property
    def sweeps(self) -> list[Path]:
        """The LiDAR's files."""
        return [file.path for file in self.files if file.sensor == LIDAR]

    @property
    def paths(self) -> Iterator[Path]:
        """Of sweeps, images and labels."""
        for file in self.files:
            yield file.path
            if file.labels is not None:
                yield file.labels
