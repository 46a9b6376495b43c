"""nuScenes (Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020) and its lidarseg labels.

Frames: ``map`` is nuScenes' global frame; ``odom`` has its axes and lies at the scene's first ego pose, so that the
single precision of viewers is enough; ``base_link`` is nuScenes' ego frame. Every file has an ego pose of its own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import Storage, Version
from sam_adapt_ros.datasets.files import missing_files
from sam_adapt_ros.datasets.nuscenes_categories import LabelFiles, read_label_ids
from sam_adapt_ros.datasets.nuscenes_tables import Row, find_tables, iterate_rows
from sam_adapt_ros.datasets.recording import BASE, LIDAR, ODOMETRY, Recording, SensorFile, label_colors
from sam_adapt_ros.datasets.scan_rows import NUSCENES_FIELDS, ScanRows
from sam_adapt_ros.datasets.to_bag import write_bags
from sam_adapt_ros.errors import BagError, CalibrationError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.transforms import Transform, invert, make_transform
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.progress import Progress, no_progress

_WITHOUT_SWEEPS = "; without --sweeps the keyframes alone are converted"
_LARGEST_IMAGE = 1 << 16  # pixels a side
_NAMED = 50


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
    notices: Notices | None = None,
) -> list[Path]:
    """Writes one bag per scene, see ``to_bag``: ``output`` itself for one scene, ``output/<scene>`` for several.

    notices: is told what is left out or guessed. The other arguments are those of ``read_recordings``. Returns the
    bags. Raises BagError that names the missing table or file.
    """
    notices = Notices() if notices is None else notices
    recordings = read_recordings(Path(root), scenes, sweeps, dataset_version, notices)
    one = len(_choose(find_tables(Path(root), dataset_version), scenes)) == 1
    bags = [Path(output) if one else Path(output) / recording.name for recording in recordings]
    write_bags(recordings, bags, storage, bag_version, force, progress, notices)
    return bags


def read_recordings(
    root: Path,
    scenes: Sequence[str] = (),
    sweeps: bool = False,
    version: str = "",
    notices: Notices | None = None,
) -> list[Recording]:
    """The chosen scenes that are whole, in the order of the table.

    A part of the data set may be installed, such as one of nuScenes' ten blobs: scenes of which files are missing are
    left out, and ``notices`` is told, unless the scene was chosen by its name, or none is whole.

    root: the data set's folder, with ``v1.0-*``, ``samples``, and ``sweeps`` and ``lidarseg`` where installed.
    scenes: names or patterns (``scene-0061``, ``scene-10*``); none: all. sweeps: also the files between the keyframes
    (20 Hz LiDAR, 12 Hz cameras). version: ``v1.0-mini`` and so on; "": the only one there.

    Raises BagError that names the missing table, row, field, scene or file.
    """
    notices = Notices() if notices is None else notices
    tables = find_tables(root, version)
    names = _choose(tables, scenes)
    scene_of_sample = {
        row.text("token"): row["scene_token"]
        for row in iterate_rows(tables / "sample.json")
        if row.text("scene_token") in names
    }
    sensors = _read_sensors(tables)
    labels = _read_label_files(tables)
    files: dict[str, dict[tuple[str, int], _File]] = {scene: {} for scene in names}
    for row in iterate_rows(tables / "sample_data.json"):
        scene = scene_of_sample.get(row.text("sample_token"))
        sensor = sensors.get(row.text("calibrated_sensor_token"))
        if scene and sensor and (sweeps or row.flag("is_key_frame")):
            stamp_ns = row.stamp_ns("timestamp")
            label_file = labels.get(row.text("token"))
            files[scene][sensor.channel, stamp_ns] = _File(  # a row that is there twice is one file
                stamp_ns=stamp_ns,
                sensor=sensor,
                path=root / row.text("filename"),
                ego_pose=row.text("ego_pose_token"),
                image_size=(0, 0)
                if sensor.K is None
                else (row.integer("width", _LARGEST_IMAGE), row.integer("height", _LARGEST_IMAGE)),
                labels=None if label_file is None else root / label_file,
            )
    needed = {file.ego_pose for of_scene in files.values() for file in of_scene.values()}
    poses = {
        row.text("token"): _transform(row)
        for row in iterate_rows(tables / "ego_pose.json")
        if row.text("token") in needed
    }
    if missing := needed - poses.keys():
        raise BagError(f"{tables / 'ego_pose.json'}: row {min(missing)} is missing")
    label_ids = read_label_ids(tables, notices) if labels else np.arange(256, dtype=np.uint8)
    recordings: list[Recording] = []
    incomplete: dict[str, BagError] = {}
    for scene, name in names.items():
        try:
            recordings.append(_recording(tables, name, list(files[scene].values()), poses, label_ids))
        except BagError as error:
            incomplete[name] = error
    _report(incomplete, whole=len(recordings), required=scenes, sweeps=sweeps, notices=notices)
    return recordings


def _report(
    incomplete: Mapping[str, BagError], whole: int, required: Collection[str], sweeps: bool, notices: Notices
) -> None:
    if not incomplete:
        return
    first = next((name for name in incomplete if name in required), next(iter(incomplete)))
    reason = f"{incomplete[first]}{_WITHOUT_SWEEPS if sweeps else ''}"
    if first in required or not whole:
        raise BagError(reason) from None
    names = ", ".join(list(incomplete)[:_NAMED]) + (", ..." if len(incomplete) > _NAMED else "")
    notices.add(
        "scenes", f"{len(incomplete)} of {whole + len(incomplete)} scenes are left out: {names} ({first}: {reason})"
    )


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


def _recording(
    tables: Path, name: str, files: list[_File], poses: Mapping[str, Transform], label_ids: NDArray[np.uint8]
) -> Recording:
    """poses: ``T_map_base`` (4, 4) by token. Raises BagError that says what the scene lacks."""
    files.sort(key=lambda file: (file.stamp_ns, file.sensor.channel))
    first = {file.sensor.channel: file for file in reversed(files)}
    for file in files:
        if file.sensor is not first[file.sensor.channel].sensor:
            raise BagError(f"{tables}: {name}: two calibrations of {file.sensor.channel}")
    if LIDAR not in first:
        raise BagError(f"{tables / 'sample_data.json'}: {name} has no {LIDAR} rows")
    T_map_odom = np.eye(4)
    T_map_odom[:3, 3] = poses[files[0].ego_pose][:3, 3]
    T_odom_map = invert(T_map_odom)
    recording = Recording(
        name=name,
        calibration=Calibration(
            LIDAR, BASE, ODOMETRY, first[LIDAR].sensor.T_base_sensor, _cameras(tables, name, first)
        ),
        files=[
            SensorFile(file.stamp_ns, file.sensor.channel, file.path, T_odom_map @ poses[file.ego_pose], file.labels)
            for file in files
        ],
        sweep_format=ScanRows(NUSCENES_FIELDS, LabelFiles(tuple(label_ids.tolist()))),
        T_map_odom=T_map_odom,
        label_colors=label_colors("nuscenes16", "nuscenes_lidarseg"),
    )
    if missing := missing_files(recording.paths):
        raise BagError(missing)
    return recording


def _cameras(tables: Path, name: str, first: Mapping[str, _File]) -> dict[str, CameraCalibration]:
    """first: the first file of each channel."""
    cameras = {}
    for channel, file in sorted(first.items()):
        if file.sensor.K is not None:
            try:
                model = CameraModel(*file.image_size, file.sensor.K)
            except CalibrationError as error:
                raise BagError(f"{tables}: {name}: {channel}: {error}") from None
            cameras[channel] = CameraCalibration(channel, file.sensor.T_base_sensor, model)
    return cameras


def _choose(tables: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Token -> name of the scenes that one of the patterns fits; none: of all."""
    table = tables / "scene.json"
    known = {row.text("token"): _scene_name(row) for row in iterate_rows(table)}
    chosen: set[str] = set() if patterns else set(known.values())
    for pattern in patterns:
        fitting = fnmatch.filter(known.values(), pattern)
        if not fitting:
            some = ", ".join(sorted(known.values())[:5])
            raise BagError(f"{table}: no scene {pattern!r} (has {len(known)}: {some}, ...)")
        chosen.update(fitting)
    names = {token: name for token, name in known.items() if name in chosen}
    if len(chosen) != len(names) or not names:
        raise BagError(f"{table}: scenes of different names expected, got {len(names)} of {len(chosen)} names")
    return names


def _scene_name(row: Row) -> str:
    """A scene's name, which is to be that of a folder."""
    name = row.text("name")
    if Path(name).name != name or name == "..":
        raise row.error("name", "a name that a folder can have")
    return name


def _read_sensors(tables: Path) -> dict[str, _Sensor]:
    """Calibrated-sensor token -> the LiDAR or a camera; radars are left out.

    A LiDAR of another name stands in for ``LIDAR_TOP`` where it is the only one.
    """
    channels: dict[str, str] = {}
    lidars: dict[str, str] = {}
    for row in iterate_rows(tables / "sensor.json"):
        token, channel, modality = row.text("token"), row.text("channel"), row.text("modality")
        if modality == "camera":
            channels[token] = channel
        elif modality == "lidar" or channel == LIDAR:
            lidars[token] = channel
    top = [token for token, channel in lidars.items() if channel == LIDAR]
    if len(lidars) != 1 and not top:
        some = ", ".join(lidars.values()) or "none"
        raise BagError(f"{tables / 'sensor.json'}: a LiDAR expected, {LIDAR} where there are several, got {some}")
    channels |= dict.fromkeys(top or lidars, LIDAR)
    sensors = {}
    for row in iterate_rows(tables / "calibrated_sensor.json"):
        channel_of = channels.get(row.text("sensor_token"))
        if channel_of is not None:
            K = None if channel_of == LIDAR else row.numbers("camera_intrinsic", (3, 3))
            sensors[row.text("token")] = _Sensor(channel_of, _transform(row), K)
    return sensors


def _read_label_files(tables: Path) -> dict[str, str]:
    """Sample-data token -> lidarseg file, where the lidarseg extension is installed."""
    path = tables / "lidarseg.json"
    rows = iterate_rows(path) if path.is_file() else ()
    return {row.text("sample_data_token"): row.text("filename") for row in rows}


def _transform(row: Row) -> Transform:
    """Of the fields ``translation`` [m] and ``rotation`` (quaternion w x y z)."""
    w, x, y, z = row.numbers("rotation", (4,))
    try:
        return make_transform(row.numbers("translation", (3,)).tolist(), (x, y, z, w))
    except ValueError:
        raise row.error("rotation", "a quaternion w x y z that is not zero") from None
