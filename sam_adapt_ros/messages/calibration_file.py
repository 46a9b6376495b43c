"""The calibration file: intrinsics and extrinsics where a bag or a robot has no CameraInfo or static TF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.poses import TransformTree
from sam_adapt_ros.geometry.transforms import Transform, make_transform, quaternion_from_matrix
from sam_adapt_ros.io.atomic_write import write_atomically

CALIBRATION_FILE = "calibration.yaml"
"""Its name inside a bag's folder."""


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """frame_id: optical frame; T_base_camera: (4, 4), optical frame -> base frame; model: intrinsics."""

    frame_id: str
    T_base_camera: Transform
    model: CameraModel


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where the sensors sit on the vehicle.

    lidar_frame, base_frame, odometry_frame: frame names. T_base_lidar: (4, 4). cameras: by the configuration's names.
    """

    lidar_frame: str
    base_frame: str
    odometry_frame: str
    T_base_lidar: Transform
    cameras: Mapping[str, CameraCalibration] = field(default_factory=dict)

    def feed(self, tree: TransformTree) -> None:
        """Adds the sensors' places to the tree as static transforms."""
        if self.lidar_frame != self.base_frame:
            tree.add(self.base_frame, self.lidar_frame, 0, self.T_base_lidar, static=True)
        for camera in self.cameras.values():
            tree.add(self.base_frame, camera.frame_id, 0, camera.T_base_camera, static=True)

    def save(self, path: str | Path) -> None:
        """Writes the YAML file, under a temporary name first."""
        path = Path(path)
        data = {
            "lidar_frame": self.lidar_frame,
            "base_frame": self.base_frame,
            "odometry_frame": self.odometry_frame,
            "T_base_lidar": _dump_transform(self.T_base_lidar),
            "cameras": {
                name: {
                    "frame_id": camera.frame_id,
                    "T_base_camera": _dump_transform(camera.T_base_camera),
                    "width": camera.model.width,
                    "height": camera.model.height,
                    "K": camera.model.K.reshape(-1).tolist(),
                    "distortion": camera.model.distortion.value,
                    "D": list(camera.model.D),
                }
                for name, camera in self.cameras.items()
            },
        }
        write_atomically(path, yaml.safe_dump(data, sort_keys=False, default_flow_style=None).encode())

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Reads the YAML file. Raises CalibrationError that names the file and the field."""
        path = Path(path)
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CalibrationError(f"{path}: cannot be read: {error}") from None
        root = _Section(path, "", data)
        entries = root.section("cameras", {})
        cameras = {name: _load_camera(entries.section(name)) for name in entries.data}
        return cls(
            root.text("lidar_frame"),
            root.text("base_frame"),
            root.text("odometry_frame"),
            _load_transform(root.section("T_base_lidar")),
            cameras,
        )


class _Section:
    """A mapping of the file that knows its own name, for errors."""

    def __init__(self, path: Path, name: str, data: Any) -> None:
        self.path, self.name, self.data = path, name, data
        if not isinstance(data, dict):
            raise self.error("", f"a mapping expected, got {type(data).__name__}")

    def error(self, key: str, text: str) -> CalibrationError:
        field_name = ".".join(filter(None, (self.name, key)))
        return CalibrationError(f"{self.path}: {field_name}: {text}" if field_name else f"{self.path}: {text}")

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self.data and default is None:
            raise self.error(key, "missing")
        return self.data.get(key, default)

    def section(self, key: str, default: Any = None) -> _Section:
        return _Section(self.path, ".".join(filter(None, (self.name, str(key)))), self.get(key, default))

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"a name expected, got {value!r}")
        return value

    def integer(self, key: str) -> int:
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, f"an integer expected, got {value!r}")
        return value

    def numbers(self, key: str, count: int | None = None, default: Any = None) -> list[float]:
        value = self.get(key, default)
        expected = "numbers" if count is None else f"{count} numbers"
        is_list = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        if not is_list or (count is not None and len(value) != count):
            raise self.error(key, f"a list of {expected} expected, got {value!r}")
        return [float(v) for v in value]


def _dump_transform(T: Transform) -> dict[str, list[float]]:
    return {"translation": T[:3, 3].tolist(), "rotation_xyzw": list(quaternion_from_matrix(T))}


def _load_transform(section: _Section) -> Transform:
    translation, rotation = section.numbers("translation", 3), section.numbers("rotation_xyzw", 4)
    try:
        return make_transform(translation, rotation)
    except ValueError as error:
        raise section.error("", str(error)) from None


def _load_camera(section: _Section) -> CameraCalibration:
    try:
        model = CameraModel(
            section.integer("width"),
            section.integer("height"),
            np.array(section.numbers("K", 9)).reshape(3, 3),
            Distortion(section.get("distortion", "none")),
            tuple(section.numbers("D", default=[])),
        )
    except ValueError:
        names = ", ".join(kind.value for kind in Distortion)
        raise section.error("distortion", f"one of {names} expected, got {section.data['distortion']!r}") from None
    except CalibrationError as error:
        if str(error).startswith(str(section.path)):
            raise
        raise section.error("", str(error)) from None
    return CameraCalibration(section.text("frame_id"), _load_transform(section.section("T_base_camera")), model)
