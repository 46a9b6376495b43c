"""nuScenes (Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020) and its lidarseg labels.

Frames: ``map`` is nuScenes' global frame; ``odom`` has its axes and lies at the scene's first ego pose, so that the
single precision of viewers is enough; ``base_link`` is nuScenes' ego frame. Every file has an ego pose of its own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import Storage, Version
from sam_adapt_ros.datasets.nuscenes_tables import Row, find_tables, iterate_rows
from sam_adapt_ros.datasets.recording import BASE, LIDAR, ODOMETRY, Recording, SensorFile
from sam_adapt_ros.datasets.to_bag import write_bags
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.transforms import Transform, invert, make_transform
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.taxonomy import Taxonomy

POINT_FIELDS = {**dict.fromkeys(("x", "y", "z", "intensity"), np.float32), "ring": np.uint16}


def convert(
    root: str | Path,
    output: str | Path,
    scenes: Sequence[str] = (),
    *,
    sweeps: bool = False,
    dataset_version: str = "",
    storage: Storage = "mcap",
    bag_version: Version = 9,
    force: bool = False,
    progress: Progress = no_progress,
) -> list[Path]:
    """Writes one bag per scene, see ``to_bag``: ``output`` itself for one scene, ``output/<scene>`` for several.

    The other arguments are those of ``read_recordings``. Returns the bags.
    Raises BagError that names the missing table or file.
    """
    recordings = read_recordings(Path(root), scenes, sweeps, dataset_version)
    return write_bags(recordings, Path(output), storage, bag_version, force, progress)


def read_recordings(root: Path, scenes: Sequence[str] = (), sweeps: bool = False, version: str = "") -> list[Recording]:
    """The chosen scenes, in the order of the table.

    root: the data set's folder, with ``v1.0-*``, ``samples``, and ``sweeps`` and ``lidarseg`` where installed.
    scenes: names or patterns (``scene-0061``, ``scene-10*``); none: all. sweeps: also the files between the keyframes
    (20 Hz LiDAR, 12 Hz cameras). version: ``v1.0-mini`` and so on; "": the only one there.

    Raises BagError that names the missing table, row, field or scene.
    """
    tables = find_tables(root, version)
    names = _choose(tables / "scene.json", scenes)
    scene_of_sample = {
        row["token"]: row["scene_token"] for row in iterate_rows(tables / "sample.json") if row["scene_token"] in names
    }
    sensors = _read_sensors(tables)
    labels = _read_label_files(tables)
    files: dict[str, list[_File]] = {scene: [] for scene in names}
    for row in iterate_rows(tables / "sample_data.json"):
        scene = scene_of_sample.get(row["sample_token"])
        sensor = sensors.get(row["calibrated_sensor_token"])
        if scene and sensor and (sweeps or row["is_key_frame"]):
            label_file = labels.get(row["token"])
            files[scene].append(
                _File(
                    stamp_ns=int(row["timestamp"]) * 1000,  # the tables count microseconds
                    sensor=sensor,
                    path=root / row["filename"],
                    ego_pose=row["ego_pose_token"],
                    image_size=(0, 0) if sensor.K is None else (int(row["width"]), int(row["height"])),
                    labels=None if label_file is None else root / label_file,
                )
            )
    needed = {file.ego_pose for of_scene in files.values() for file in of_scene}
    poses = {row["token"]: _transform(row) for row in iterate_rows(tables / "ego_pose.json") if row["token"] in needed}
    if missing := needed - poses.keys():
        raise BagError(f"{tables / 'ego_pose.json'}: row {min(missing)} is missing")
    return [_recording(tables, name, files[scene], poses) for scene, name in names.items()]


@dataclass(frozen=True, slots=True, eq=False)
class _Sensor:
    """A row of ``calibrated_sensor``. T_base_sensor: (4, 4); K: (3, 3), cameras only."""

    channel: str
    T_base_sensor: Transform
    K: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """What is needed of a row of ``sample_data``: the full table has too many to keep them whole.

    ego_pose: token. image_size: width and height in pixels. labels: lidarseg file of a LiDAR keyframe.
    """

    stamp_ns: int
    sensor: _Sensor
    path: Path
    ego_pose: str
    image_size: tuple[int, int]
    labels: Path | None


def _recording(tables: Path, name: str, files: list[_File], poses: Mapping[str, Transform]) -> Recording:
    """poses: ``T_map_base`` (4, 4) by token."""
    files.sort(key=lambda file: (file.stamp_ns, file.sensor.channel))
    first = {file.sensor.channel: file for file in reversed(files)}
    for file in files:
        if file.sensor is not first[file.sensor.channel].sensor:
            raise BagError(f"{tables}: {name}: two calibrations of {file.sensor.channel}")
    if LIDAR not in first:
        raise BagError(f"{tables / 'sample_data.json'}: {name} has no {LIDAR} rows")
    cameras = {
        channel: CameraCalibration(channel, file.sensor.T_base_sensor, CameraModel(*file.image_size, file.sensor.K))
        for channel, file in sorted(first.items())
        if file.sensor.K is not None
    }
    T_map_odom = np.eye(4)
    T_map_odom[:3, 3] = poses[files[0].ego_pose][:3, 3]
    T_odom_map = invert(T_map_odom)
    taxonomy = Taxonomy.load("nuscenes16")
    return Recording(
        name=name,
        calibration=Calibration(LIDAR, BASE, ODOMETRY, first[LIDAR].sensor.T_base_sensor, cameras),
        files=[
            SensorFile(file.stamp_ns, file.sensor.channel, file.path, T_odom_map @ poses[file.ego_pose], file.labels)
            for file in files
        ],
        point_fields=POINT_FIELDS,
        T_map_odom=T_map_odom,
        label_colors=taxonomy.colors[taxonomy.lookup("nuscenes_lidarseg")[:256]],
    )


def _choose(table: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Token -> name of the scenes that one of the patterns fits; none: of all."""
    known = {row["token"]: row["name"] for row in iterate_rows(table)}
    chosen: set[str] = set() if patterns else set(known.values())
    for pattern in patterns:
        fitting = fnmatch.filter(known.values(), pattern)
        if not fitting:
            some = ", ".join(sorted(known.values())[:5])
            raise BagError(f"{table}: no scene {pattern!r} (has {len(known)}: {some}, ...)")
        chosen.update(fitting)
    return {token: name for token, name in known.items() if name in chosen}


def _read_sensors(tables: Path) -> dict[str, _Sensor]:
    """Calibrated-sensor token -> the LiDAR or a camera; radars are left out."""
    channels = {
        row["token"]: row["channel"]
        for row in iterate_rows(tables / "sensor.json")
        if row["channel"] == LIDAR or row["modality"] == "camera"
    }
    sensors = {}
    for row in iterate_rows(tables / "calibrated_sensor.json"):
        channel = channels.get(row["sensor_token"])
        if channel is not None:
            K = None if channel == LIDAR else np.array(row["camera_intrinsic"], np.float64)
            if K is not None and K.shape != (3, 3):
                raise BagError(f"{row.path}: {channel}: camera_intrinsic: 3 x 3 numbers expected")
            sensors[row["token"]] = _Sensor(channel, _transform(row), K)
    return sensors


def _read_label_files(tables: Path) -> dict[str, str]:
    """Sample-data token -> lidarseg file, where the lidarseg extension is installed."""
    path = tables / "lidarseg.json"
    return {row["sample_data_token"]: row["filename"] for row in iterate_rows(path)} if path.is_file() else {}


def _transform(row: Row) -> Transform:
    """Of the fields ``translation`` [m] and ``rotation`` (quaternion w x y z)."""
    rotation: Sequence[float] = row["rotation"]
    try:
        w, x, y, z = rotation
        return make_transform(row["translation"], (x, y, z, w))
    except (TypeError, ValueError) as error:
        raise BagError(f"{row.path}: row {row['token']}: not a pose: {error}") from None
