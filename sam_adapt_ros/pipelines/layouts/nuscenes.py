"""Drives in the layout of nuScenes with lidarseg (``v1.0-trainval``): tables, sweeps, images, labels.

Scenes have names of the official splits, and the places and descriptions by which the benchmarks divide them. Like the
real vehicle, the LiDAR looks to the right of where it drives (its y axis is forward), and images have poses of their
own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sam_adapt_ros.datasets.nuscenes_categories import NUSCENES_LIDARSEG
from sam_adapt_ros.geometry.transforms import Transform, invert, transform_points
from sam_adapt_ros.pipelines.layouts.drives import LayoutDrive, id_table, png
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.simulation.drive import CAMERA, LIDAR, Recording

VERSION = "v1.0-trainval"
PERIOD = 0.5  # seconds between keyframes
CAMERA_RIG = {"width": 400, "height": 225, "focal": 316.6, "position": (1.7, 0.0, 1.5)}  # a quarter of 1600 x 900
LIDAR_RIG = {"beams": 32, "lowest": -30.0, "highest": 10.0, "columns": 540, "position": (0.9, 0.0, 1.84)}
IDS = {
    "road": "flat.driveable_surface",
    "sidewalk": "flat.sidewalk",
    "terrain": "flat.terrain",
    "building": "static.manmade",
    "vegetation": "static.vegetation",
    "vehicle": "vehicle.car",
    "pedestrian": "human.pedestrian.adult",
    "pole": "static.manmade",
    "truck": "vehicle.truck",
}
_TURN = np.eye(4)
_TURN[:3, :3] = Rotation.from_euler("z", -90, degrees=True).as_matrix()
_SCENE_GAP_S = 100


class Scene(NamedTuple):
    """A drive: its name, where it is, and what the data set says of it."""

    name: str
    location: str
    description: str
    domain: str


SCENES = (
    Scene("scene-0655", "boston-seaport", "Parking lot, parked cars, jaywalker", "day"),
    Scene("scene-0757", "boston-seaport", "Arrive at busy intersection, bus", "day"),
    Scene("scene-0103", "boston-seaport", "Many peds right, wait for turning car", "day"),
    Scene("scene-0061", "singapore-onenorth", "Parked truck, construction, intersection", "new_city"),
    Scene("scene-0001", "singapore-onenorth", "Construction, maneuver between several trucks", "new_city"),
    Scene("scene-0004", "singapore-onenorth", "Peds on sidewalk, parked cars", "new_city"),
    Scene("scene-0916", "singapore-queenstown", "Parking lot, bicycle rack, parked bicycles", "new_city"),
    Scene("scene-1077", "singapore-hollandvillage", "Night, big street, bus stop", "new_city+night"),
    Scene("scene-1094", "singapore-hollandvillage", "Night, after rain, many peds", "new_city+night"),
    Scene("scene-1045", "singapore-hollandvillage", "Night, turn left, wait at traffic light", "new_city+night"),
    Scene("scene-1060", "singapore-hollandvillage", "Night, peds in sidewalk, peds cross crosswalk", "new_city+night"),
)
"""Boston: two of the official training scenes, one of the official validation scenes. Singapore by day: two, one and
one of training, the benchmark's validation (0004) and the official validation; by night: two, one (1045) and one."""


def drive(scene: Scene, seed: int, frames: int) -> LayoutDrive:
    """What ``write`` writes as a scene."""
    place = [each.name for each in SCENES].index(scene.name)
    return LayoutDrive(scene.domain, 100 * seed + place, frames, PERIOD, CAMERA_RIG, LIDAR_RIG, synchronous=False)


def write(
    root: Path, frames: int, seed: int, scenes: Sequence[Scene] = SCENES, progress: Progress = no_progress
) -> None:
    """Writes each scene with ``frames`` keyframes."""
    tables = _Tables()
    for place, scene in enumerate(scenes):
        rendered = drive(scene, seed, frames)
        _write_scene(root, tables, scene, rendered, place)
        progress(place + 1, len(scenes))
    logs = [row["token"] for row in tables.rows["log"]]
    empty = f"maps/{token('mask')}.png"
    _write(root / empty, png(np.zeros((16, 16), np.uint8)))
    tables.add("map", "map", category="semantic_prior", filename=empty, log_tokens=logs)
    tables.write(root / VERSION)


class _Tables:
    """The rows of all tables; the devkit wants those, too, that nothing is known of."""

    def __init__(self) -> None:
        names = "scene sample sample_data ego_pose calibrated_sensor sensor log lidarseg category"
        others = "attribute visibility instance sample_annotation map"
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in f"{names} {others}".split()}
        self.rows["category"] = [
            {"token": token(name), "name": name, "description": "", "index": index}
            for index, name in enumerate(NUSCENES_LIDARSEG)
        ]
        for channel, modality in ((LIDAR, "lidar"), (CAMERA, "camera")):
            self.add("sensor", channel, channel=channel, modality=modality)

    def add(self, table: str, key: str, /, **fields: Any) -> str:
        """Returns the row's token, which follows from ``key``."""
        row = {"token": token(table, key), **fields}
        self.rows[table].append(row)
        return str(row["token"])

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.rows.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")


def token(*names: str) -> str:
    """32 hexadecimal digits, as nuScenes' tokens have."""
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:32]


def _write_scene(root: Path, tables: _Tables, scene: Scene, rendered: LayoutDrive, place: int) -> None:
    logfile = f"{'n015' if 'singapore' in scene.location else 'n008'}-2018-{scene.name}"
    log = tables.add("log", logfile, logfile=logfile, vehicle=logfile[:4], date_captured="", location=scene.location)
    K = rendered.camera.model.K.tolist()
    sensors = {
        LIDAR: tables.add(
            "calibrated_sensor", f"{scene.name}/{LIDAR}", sensor_token=token("sensor", LIDAR), camera_intrinsic=[],
            **_pose(rendered.lidar.T_base_lidar @ _TURN)),
        CAMERA: tables.add(
            "calibrated_sensor", f"{scene.name}/{CAMERA}", sensor_token=token("sensor", CAMERA), camera_intrinsic=K,
            **_pose(rendered.T_base_camera)),
    }  # fmt: skip
    samples = [token("sample", f"{scene.name}/{index}") for index in range(len(rendered))]
    tables.add(
        "scene", scene.name, name=scene.name, description=scene.description, log_token=log, nbr_samples=len(samples),
        first_sample_token=samples[0], last_sample_token=samples[-1])  # fmt: skip
    map_from_odom = np.eye(4)
    map_from_odom[:3, 3] = 400.0 + place, 1180.0, 0.0
    later = place * _SCENE_GAP_S * 1_000_000
    for index in range(len(rendered)):
        r = rendered.record(index)
        stamp = r.stamp_ns // 1000 + later
        links = {"prev": samples[index - 1] if index else "", "next": (*samples, "")[index + 1]}
        tables.add("sample", f"{scene.name}/{index}", timestamp=stamp, scene_token=token("scene", scene.name), **links)
        size = (r.instances.shape[1], r.instances.shape[0])
        for channel, us, T, content, (width, height), suffix in (
            (LIDAR, stamp, r.T_odom_base, _sweep_bytes(r), (0, 0), "pcd.bin"),
            (CAMERA, r.image_stamp_ns // 1000 + later, r.T_odom_base_image, bytes(r.jpeg), size, "jpg"),
        ):
            name = f"{logfile}__{channel}__{us}"
            file = f"samples/{channel}/{name}.{suffix}"
            _write(root / file, content)
            pose = tables.add("ego_pose", name, timestamp=us, **_pose(map_from_odom @ T))
            data = tables.add(
                "sample_data", name, sample_token=samples[index], ego_pose_token=pose, timestamp=us, filename=file,
                calibrated_sensor_token=sensors[channel], fileformat=suffix[:3], width=width, height=height,
                is_key_frame=True, prev="", next="")  # fmt: skip
            if channel == LIDAR:
                labels = f"lidarseg/{VERSION}/{data}_lidarseg.bin"
                kinds = rendered.kind(r.sweep.class_id, r.sweep.instance)
                _write(root / labels, _table()[kinds].astype(np.uint8).tobytes())
                tables.rows["lidarseg"].append({"token": data, "sample_data_token": data, "filename": labels})


def _table() -> NDArray[np.uint32]:
    return id_table({kind: NUSCENES_LIDARSEG.index(name) for kind, name in IDS.items()}, nothing=0)


def _sweep_bytes(r: Recording) -> bytes:
    """Rows of five float32: x y z in the LiDAR's frame, intensity, ring."""
    turned = transform_points(invert(_TURN), r.sweep.points)
    return np.column_stack([turned, r.sweep.intensity, r.sweep.ring]).astype("<f4").tobytes()


def _pose(T: Transform) -> dict[str, list[float]]:
    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    return {"translation": T[:3, 3].tolist(), "rotation": [w, x, y, z]}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
