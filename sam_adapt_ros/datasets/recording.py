"""A recorded drive as the files of its sensors: one form for all data sets.

The frames' names are the same for all of them, after REP 105: ``map`` -> ``odom`` -> ``base_link`` -> ``LIDAR_TOP`` and
one optical frame per camera.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
    a map. point_fields: fields of a point in the LiDAR's files, which are rows of float32, and the type that each has
    in a point cloud. label_colors: (256, 3) uint8 RGB by class id of the labels.
    """

    name: str
    calibration: Calibration
    files: Sequence[SensorFile]
    point_fields: Mapping[str, DTypeLike]
    T_map_odom: Transform | None = None
    label_colors: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((256, 3), np.uint8))

    @property
    def paths(self) -> Iterator[Path]:
        """Of sweeps, images and labels."""
        for file in self.files:
            yield file.path
            if file.labels is not None:
                yield file.labels
