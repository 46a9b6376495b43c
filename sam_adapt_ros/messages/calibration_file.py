"""The calibration file: intrinsics and extrinsics for bags and robots without CameraInfo or static transforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sam_adapt_ros.errors import CalibrationError, describe_validation
from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.transform_tree import TransformTree
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
    """Intrinsics of the cameras, and where the sensors are on the vehicle.

    lidar_frame, base_frame, odometry_frame: frame names. T_base_lidar: (4, 4). cameras: by the configuration's names.
    """

    lidar_frame: str
    base_frame: str
    odometry_frame: str
    T_base_lidar: Transform
    cameras: Mapping[str, CameraCalibration] = field(default_factory=dict)

    def feed(self, tree: TransformTree) -> None:
        """Adds the extrinsics to the tree as static transforms."""
        if self.lidar_frame != self.base_frame:
            tree.add(self.base_frame, self.lidar_frame, 0, self.T_base_lidar, static=True)
        for camera in self.cameras.values():
            tree.add(self.base_frame, camera.frame_id, 0, camera.T_base_camera, static=True)

    def save(self, path: str | Path) -> None:
        """Writes the YAML file. Raises OSError."""
        content = _Calibration(
            lidar_frame=self.lidar_frame,
            base_frame=self.base_frame,
            odometry_frame=self.odometry_frame,
            T_base_lidar=_Pose.of(self.T_base_lidar),
            cameras={name: _Camera.of(camera) for name, camera in self.cameras.items()},
        )
        text = yaml.safe_dump(content.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
        write_atomically(Path(path), text.encode())

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Reads the YAML file. Raises CalibrationError that names the file and each field that does not fit."""
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            content = _Calibration.model_validate(data)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CalibrationError(f"{path}: cannot be read: {error}") from None
        except ValidationError as error:
            raise CalibrationError(f"{path}: {describe_validation(error)}") from None
        cameras = {name: camera.calibration() for name, camera in content.cameras.items()}
        frames = content.lidar_frame, content.base_frame, content.odometry_frame
        return cls(*frames, content.T_base_lidar.matrix(), cameras)


Name = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    """A part of the file. Numbers must be numbers, and names must be texts, since YAML distinguishes them."""

    model_config = ConfigDict(strict=True)


class _Pose(_Section):
    translation: Annotated[list[float], Field(min_length=3, max_length=3)]
    rotation_xyzw: Annotated[list[float], Field(min_length=4, max_length=4)]

    @classmethod
    def of(cls, T: Transform) -> _Pose:
        return cls(translation=T[:3, 3].tolist(), rotation_xyzw=quaternion_from_matrix(T))

    @model_validator(mode="after")
    def _is_rigid(self) -> _Pose:
        self.matrix()
        return self

    def matrix(self) -> Transform:
        return make_transform(self.translation, self.rotation_xyzw)


class _Camera(_Section):
    frame_id: Name
    T_base_camera: _Pose
    width: int
    height: int
    K: Annotated[list[float], Field(min_length=9, max_length=9)]
    distortion: Annotated[Distortion, Field(strict=False)] = Distortion.NONE
    D: list[float] = []

    @classmethod
    def of(cls, camera: CameraCalibration) -> _Camera:
        model = camera.model
        return cls(
            frame_id=camera.frame_id,
            T_base_camera=_Pose.of(camera.T_base_camera),
            width=model.width,
            height=model.height,
            K=model.K.reshape(-1).tolist(),
            distortion=model.distortion,
            D=list(model.D),
        )

    @model_validator(mode="after")
    def _is_camera(self) -> _Camera:
        try:
            self.calibration()
        except CalibrationError as error:
            raise ValueError(str(error)) from None
        return self

    def calibration(self) -> CameraCalibration:
        K = np.reshape(self.K, (3, 3))
        model = CameraModel(self.width, self.height, K, self.distortion, tuple(self.D))
        return CameraCalibration(self.frame_id, self.T_base_camera.matrix(), model)


class _Calibration(_Section):
    lidar_frame: Name
    base_frame: Name
    odometry_frame: Name
    T_base_lidar: _Pose
    cameras: dict[str, _Camera] = {}
