"""Drives in the layout of A2D2's semantic segmentation set (``camera_lidar_semantic``), the camera ahead alone.

Images and labels have the lens's distortion; the points' rows and columns are those of the image without it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.a2d2 import A2D2
from sam_adapt_ros.datasets.a2d2_classes import CLASSES, COLORS, rgb
from sam_adapt_ros.geometry import CameraModel, Distortion
from sam_adapt_ros.geometry.transforms import T_BODY_OPTICAL, Transform, invert, transform_points
from sam_adapt_ros.pipelines.layouts.drives import LayoutDrive, Truth, pixels, png
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.simulation.domains import CameraRig
from sam_adapt_ros.simulation.drive import Recording
from sam_adapt_ros.simulation.sensors import Camera
from sam_adapt_ros.simulation.trace import NONE

DOMAIN = "day"
PERIOD = 0.5
_IMAGE = {"width": 480, "height": 302, "focal": 421.8}  # a quarter of 1920 x 1208
CAMERA_RIG: dict[str, Any] = {**_IMAGE, "position": (1.71, 0.0, 0.94)}
LIDAR_RIG = {"beams": 32, "lowest": -16.0, "highest": 14.0, "columns": 720, "position": (0.9, 0.0, 1.5)}
RECORDINGS = tuple(sorted(name for names in A2D2.SPLITS.values() for name in names))
CLASSES_OF = {
    "road": ("RD normal street",),
    "sidewalk": ("Sidewalk",),
    "terrain": ("Nature object",),
    "building": ("Buildings",),
    "vegetation": ("Nature object",),
    "vehicle": ("Car 1", "Car 2", "Car 3", "Car 4"),
    "pedestrian": ("Pedestrian 1", "Pedestrian 2", "Pedestrian 3"),
    "pole": ("Poles",),
    "truck": ("Truck 1", "Truck 2", "Truck 3"),
}
"""By kind; several are told apart by the instance."""
_LENS = (-0.26, 0.11, 0.0004, -0.0002, -0.025)
_WIDER = 1.02  # how much longer the focal length is before the distortion is undone


def drive(recording: str, seed: int, frames: int) -> LayoutDrive:
    """What ``write`` writes as a recording."""
    number = 100 * seed + 40 + RECORDINGS.index(recording)
    return LayoutDrive(DOMAIN, number, frames, PERIOD, CAMERA_RIG, LIDAR_RIG)


def write(
    root: Path, frames: int, seed: int, recordings: Sequence[str] = RECORDINGS, progress: Progress = no_progress
) -> None:
    """Writes each recording with ``frames`` frames."""
    (root / "camera_lidar_semantic").mkdir(parents=True, exist_ok=True)
    listed = {color: name for name, color in COLORS.items()}
    (root / "camera_lidar_semantic" / "class_list.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    for place, recording in enumerate(recordings):
        rendered = drive(recording, seed, frames)
        if place == 0:
            (root / "cams_lidars.json").write_text(json.dumps(_sensors(rendered), indent=1), encoding="utf-8")
        for index in range(frames):
            _write_frame(root / "camera_lidar_semantic", recording, rendered, index)
        progress(place + 1, len(recordings))


def labels(truth: Truth) -> NDArray[np.uint8]:
    """(H, W) places in A2D2's list of classes, of an image without distortion."""
    table = np.full((256, 12), CLASSES.index("Rain dirt"), np.uint8)  # 12: every number of classes divides it
    for place, kind in enumerate(LayoutDrive.kinds):
        table[place] = np.resize([CLASSES.index(name) for name in CLASSES_OF[kind]], 12)
    table[NONE] = CLASSES.index("Sky")
    return np.asarray(table[truth.kind, truth.instance % 12])


def _original(model: CameraModel) -> CameraModel:
    """The camera before its distortion is undone."""
    K = model.K.copy()
    K[0, 0] *= _WIDER
    K[1, 1] *= _WIDER
    return CameraModel(model.width, model.height, K, Distortion.PLUMB_BOB, _LENS)


@cache
def _lens() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows of the image without distortion that each pixel (H, W) of the original shows."""
    model = Camera(CameraRig(**CAMERA_RIG)).model
    columns, rows = np.meshgrid(np.arange(model.width), np.arange(model.height))
    rays = _original(model).unproject(np.stack([columns.ravel(), rows.ravel()], axis=1), 1.0)
    u, v, _ = model.K @ rays.T
    shape = (model.height, model.width)
    return u.reshape(shape).astype(np.float32), v.reshape(shape).astype(np.float32)


def _write_frame(root: Path, recording: str, rendered: LayoutDrive, index: int) -> None:
    r, name, number = rendered.record(index), recording.replace("_", ""), f"{index:09d}"

    def path(what: str, suffix: str) -> Path:
        folder = root / recording / what.replace("info", "camera") / "cam_front_center"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}_{what.replace('info', 'camera')}_frontcenter_{number}.{suffix}"

    image = cv2.remap(pixels(r), *_lens(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colors = np.array([rgb(color) for color in COLORS.values()], np.uint8)[labels(rendered.truth(r))]
    label = cv2.remap(colors, *_lens(), cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    path("camera", "png").write_bytes(png(image))
    path("label", "png").write_bytes(png(label))
    view = _view(rendered.T_base_camera)
    info = {
        "cam_name": "front_center",
        "cam_tstamp": r.stamp_ns // 1000,
        "image_png": path("camera", "png").name,
        "image_zoom": 1.0,
        "lidar_ids": {"0": "front_center"},
        "pcld_npz": path("lidar", "npz").name,
        "pcld_view": view,
    }
    path("info", "json").write_text(json.dumps(info), encoding="utf-8")
    path("lidar", "npz").write_bytes(_cloud(rendered, r))


def _cloud(rendered: LayoutDrive, r: Recording) -> bytes:
    """The points that the camera sees, in its view, with their places in the image."""
    T_camera_lidar = invert(rendered.T_base_camera) @ rendered.lidar.T_base_lidar
    optical = transform_points(T_camera_lidar, r.sweep.points)
    uv, _, seen = rendered.camera.model.project(optical)
    points = transform_points(T_BODY_OPTICAL, optical[seen]).astype(np.float64)
    count = len(points)
    file = io.BytesIO()
    np.savez(
        file,
        points=points,
        row=uv[seen, 1].astype(np.float64),
        col=uv[seen, 0].astype(np.float64),
        depth=points[:, 0],
        distance=np.linalg.norm(points, axis=1),
        azimuth=np.arctan2(points[:, 1], points[:, 0]),
        reflectance=r.sweep.intensity[seen].astype(np.int64),
        timestamp=np.full(count, r.stamp_ns // 1000, np.int64),
        lidar_id=np.zeros(count, np.int64),
    )
    return file.getvalue()


def _sensors(rendered: LayoutDrive) -> dict:
    """The content of ``cams_lidars.json``."""
    model = rendered.camera.model
    camera = {
        "view": _view(rendered.T_base_camera),
        "tstamp_delay": 0,
        "Lens": "Telecam",
        "CamMatrix": model.K.tolist(),
        "CamMatrixOriginal": _original(model).K.tolist(),
        "Distortion": [list(_LENS)],
        "Resolution": [model.width, model.height],
    }
    lidar = {"view": _view(rendered.lidar.T_base_lidar @ T_BODY_OPTICAL)}
    vehicle = {
        "view": _view(T_BODY_OPTICAL),
        "ego-dimensions": {"x-range": [-1, 4], "y-range": [-1, 1], "z-range": [0, 1.5]},
    }
    return {"vehicle": vehicle, "lidars": {"front_center": lidar}, "cameras": {"front_center": camera}}


def _view(T_base_optical: Transform) -> dict[str, list[float]]:
    """A coordinate system in the vehicle's: where it is, and its axes forward and to the left."""
    T = T_base_optical @ invert(T_BODY_OPTICAL)
    return {"origin": T[:3, 3].tolist(), "x-axis": T[:3, 0].tolist(), "y-axis": T[:3, 1].tolist()}
