"""The camera ahead in A2D2's ``cams_lidars.json``, and the colours in its ``class_list.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from sam_adapt_ros.datasets.a2d2_classes import CLASSES, rgb
from sam_adapt_ros.datasets.files import read_text
from sam_adapt_ros.datasets.image_files import Color, LabelColors
from sam_adapt_ros.errors import BagError, CalibrationError, describe_validation
from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.transforms import Transform

SENSORS, CLASS_LIST = "cams_lidars.json", "class_list.json"
_PARALLEL = 1e-3  # sine of the angle between axes that span no plane

Number = Annotated[float, Field(allow_inf_nan=False)]
Vector = tuple[Number, Number, Number]


class View(BaseModel):
    """A coordinate system in the vehicle's, whose axes need not be quite orthonormal."""

    origin: Vector
    x_axis: Vector = Field(alias="x-axis")
    y_axis: Vector = Field(alias="y-axis")

    def transform(self, what: str) -> Transform:
        """``T_vehicle_view`` (4, 4), orthonormal as in the data set's tutorial. Raises BagError that begins with
        ``what``."""
        x, y = np.array(self.x_axis), np.array(self.y_axis)
        length = np.linalg.norm(x) * np.linalg.norm(y)
        if length == 0 or np.linalg.norm(np.cross(x, y)) < _PARALLEL * length:
            raise BagError(f"{what}: x-axis and y-axis that span a plane expected, got {x.tolist()} and {y.tolist()}")
        x /= np.linalg.norm(x)
        y -= x * (x @ y)
        y /= np.linalg.norm(y)
        T = np.eye(4)
        T[:3] = np.column_stack([x, y, np.cross(x, y), self.origin])
        return T


class _Camera(BaseModel):
    view: View
    Lens: Literal["Telecam"]
    CamMatrix: tuple[Vector, Vector, Vector]
    CamMatrixOriginal: tuple[Vector, Vector, Vector]
    Distortion: tuple[tuple[Number, Number, Number, Number, Number]]
    Resolution: tuple[int, int]


class _Cameras(BaseModel):
    front_center: _Camera


class _Sensors(BaseModel):
    cameras: _Cameras


@dataclass(frozen=True, eq=False)
class FrontCamera:
    """T_vehicle_view: (4, 4). original: the model of the files; undistorted: that of ``row`` and ``col``."""

    T_vehicle_view: Transform
    original: CameraModel
    undistorted: CameraModel


def read_front_camera(folders: Sequence[Path]) -> FrontCamera:
    """folders: in which ``cams_lidars.json`` may be. Raises BagError that names file and field."""
    path = _find(SENSORS, folders)
    try:
        camera = _Sensors.model_validate(read_json(path)).cameras.front_center
    except ValidationError as error:
        raise BagError(f"{path}: {describe_validation(error)}") from None
    width, height = camera.Resolution
    try:
        original = CameraModel(
            width, height, np.array(camera.CamMatrixOriginal), Distortion.PLUMB_BOB, camera.Distortion[0]
        )
        undistorted = CameraModel(width, height, np.array(camera.CamMatrix))
    except CalibrationError as error:
        raise BagError(f"{path}: cameras.front_center: {error}") from None
    return FrontCamera(camera.view.transform(f"{path}: cameras.front_center.view"), original, undistorted)


def read_label_colors(folders: Sequence[Path]) -> LabelColors:
    """folders: in which ``class_list.json`` may be. Raises BagError that names file and entry."""
    path = _find(CLASS_LIST, folders)
    listed = read_json(path)
    if not isinstance(listed, dict) or not listed:
        raise BagError(f"{path}: names by colour (#rrggbb) expected")
    ids: dict[Color, int] = {}
    for color, name in listed.items():
        if name not in CLASSES:
            raise BagError(f"{path}: {color[:60]!r}: a class of A2D2 expected, got {str(name)[:60]!r}")
        try:
            ids[rgb(color)] = CLASSES.index(name)
        except ValueError:
            raise BagError(f"{path}: colours such as #c80000 expected, got {color[:60]!r}") from None
    return LabelColors(path, ids)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises BagError that names it when it is missing or is not JSON."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BagError(f"{path}: not JSON: {str(error)[:60]}") from None


def _find(name: str, folders: Sequence[Path]) -> Path:
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
