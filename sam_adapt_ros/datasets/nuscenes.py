"""nuScenes (Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020) and its lidarseg labels.

Frames: ``map`` is nuScenes' global frame; ``odom`` has its axes and lies at the scene's first ego pose, so that the
single precision of viewers is enough; ``base_link`` is nuScenes' ego frame. Every file has an ego pose of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.dataset import RecordingDataset
from sam_adapt_ros.datasets.files import missing_files
from sam_adapt_ros.datasets.nuscenes_categories import LabelFiles, read_label_ids
from sam_adapt_ros.datasets.nuscenes_splits import SPLITS, find_split, read_scenes
from sam_adapt_ros.datasets.nuscenes_tables import Row, Tables, find_tables
from sam_adapt_ros.datasets.recording import BASE, LIDAR, ODOMETRY, Recording, SensorFile, label_colors
from sam_adapt_ros.datasets.scan_rows import NUSCENES_FIELDS, ScanRows
from sam_adapt_ros.datasets.selection import Selection, listed
from sam_adapt_ros.errors import BagError, CalibrationError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.transforms import Transform, invert, make_transform
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

_WITHOUT_SWEEPS = "; without --sweeps the keyframes alone are converted"
_LARGEST_IMAGE = 1 << 16  # pixels a side


class NuScenes(RecordingDataset):
    """nuScenes: its keyframes, with lidarseg labels, or the panoptic ones, where installed."""

    name = "nuscenes"
    mapping = "nuscenes_lidarseg"
    splits = tuple(SPLITS)

    def __init__(
        self,
        roots: Sequence[str | Path],
        selection: Selection = Selection(),
        taxonomy: Taxonomy | None = None,
        notices: Notices | None = None,
        *,
        sweeps: bool = False,
        version: str = "",
    ) -> None:
        """The chosen scenes that are whole, in the order of the table.

        A part of the data set may be installed, such as one of its ten archives: scenes of which files are missing are
        left out, and ``notices`` is told, unless they are of the chosen split or chosen by name, or none is whole.

        roots: folders with ``v1.0-*``, ``samples``, and ``sweeps``, ``lidarseg`` and ``panoptic`` where installed, see
        ``find_tables``. sweeps: the recordings also have the files between the keyframes (20 Hz LiDAR, 12 Hz cameras).
        version: ``v1.0-mini`` and so on; "": the only one there, or that of the split.

        Raises BagError that names the missing table, row, field, scene or file.
        """
        notices = Notices() if notices is None else notices
        preferred = "v1.0-mini" if selection.split.startswith("mini") else "v1.0-trainval"
        tables = find_tables([Path(root) for root in roots], version, preferred if selection.split else "")
        reader = _SceneReader(tables, selection, sweeps, notices)
        super().__init__(reader.recordings(), taxonomy, selection)
        self.left_out = tuple(reader.incomplete)


@dataclass(frozen=True, slots=True, eq=False)
class _Sensor:
    """A row of ``calibrated_sensor``. T_base_sensor: (4, 4); K: (3, 3), cameras only."""

    channel: str
    T_base_sensor: Transform
    K: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """What is needed of a row of ``sample_data``: the full table has too many to keep them whole.

    ego_pose: token. image_size: width and height in pixels. labels: of a LiDAR keyframe. sample: token of a keyframe's
    sample, else "".
    """

    stamp_ns: int
    sensor: _Sensor
    path: Path
    ego_pose: str
    image_size: tuple[int, int]
    labels: Path | None
    sample: str


class _SceneReader:
    """Reads the chosen scenes from the tables. incomplete: why scenes are left out, by name."""

    def __init__(self, tables: Tables, selection: Selection, sweeps: bool, notices: Notices) -> None:
        self._tables, self._selection, self._sweeps, self._notices = tables, selection, sweeps, notices
        self.incomplete: dict[str, BagError] = {}

    def recordings(self) -> list[Recording]:
        """Raises BagError when a scene that must be whole is not."""
        scenes = self._choose()
        files = self._files(scenes)
        poses = self._poses(files)
        labels = self._labels_table
        label_ids = read_label_ids(self._tables.path(labels).parent, self._notices) if labels else np.arange(256)
        sweep_format = ScanRows(NUSCENES_FIELDS, LabelFiles(tuple(label_ids.tolist())))
        recordings: list[Recording] = []
        for token, name in scenes.items():
            try:
                recordings.append(_recording(self._tables.folder, name, files[token], poses, sweep_format))
            except BagError as error:
                self.incomplete[name] = error
        if self.incomplete:
            self._report(whole=len(recordings))
        return recordings

    def _choose(self) -> dict[str, str]:
        """Token -> name of the scenes to read."""
        split = find_split(self._selection.split)
        scenes = read_scenes(self._tables, split)
        members = None if split is None else split.members(scenes)
        chosen = self._selection.choose(scenes, members, self._tables.path("scene"), self._notices)
        return {scenes[name].token: name for name in chosen}

    def _files(self, scenes: Collection[str]) -> dict[str, list[_File]]:
        """By the scene's token."""
        tables = self._tables
        scene_of_sample = {
            row.text("token"): row["scene_token"] for row in tables.rows("sample") if row.text("scene_token") in scenes
        }
        sensors = _read_sensors(tables, self._selection)
        labels = {
            row.text("sample_data_token"): row.text("filename")
            for row in (tables.rows(self._labels_table) if self._labels_table else ())
        }
        files: dict[str, dict[tuple[str, int], _File]] = {scene: {} for scene in scenes}
        for row in tables.rows("sample_data"):
            scene = scene_of_sample.get(row.text("sample_token"))
            sensor = sensors.get(row.text("calibrated_sensor_token"))
            if scene is None or sensor is None:
                continue
            key = row.flag("is_key_frame")
            if not key and not self._sweeps:
                continue
            label_file = labels.get(row.text("token"))
            file = _File(
                stamp_ns=row.stamp_ns("timestamp"),
                sensor=sensor,
                path=tables.file(row.text("filename")),
                ego_pose=row.text("ego_pose_token"),
                image_size=(0, 0)
                if sensor.K is None
                else (row.integer("width", _LARGEST_IMAGE), row.integer("height", _LARGEST_IMAGE)),
                labels=None if label_file is None else tables.file(label_file),
                sample=row["sample_token"] if key else "",
            )
            files[scene][sensor.channel, file.stamp_ns] = file  # a row that is there twice is one file
        return {scene: list(of_scene.values()) for scene, of_scene in files.items()}

    def _poses(self, files: Mapping[str, list[_File]]) -> dict[str, Transform]:
        """``T_map_base`` (4, 4) by token."""
        needed = {file.ego_pose for of_scene in files.values() for file in of_scene}
        rows = self._tables.rows("ego_pose")
        poses = {row.text("token"): _transform(row) for row in rows if row.text("token") in needed}
        if missing := needed - poses.keys():
            raise BagError(f"{self._tables.path('ego_pose')}: row {min(missing)} is missing")
        return poses

    @cached_property
    def _labels_table(self) -> str:
        """lidarseg's, or panoptic's where that alone is installed; "" without labels."""
        return next((name for name in ("lidarseg", "panoptic") if self._tables.path(name).is_file()), "")

    def _report(self, whole: int) -> None:
        incomplete, selection = self.incomplete, self._selection
        first = next((name for name in incomplete if name in selection.names), next(iter(incomplete)))
        reason = f"{incomplete[first]}{_WITHOUT_SWEEPS if self._sweeps else ''}"
        if not whole or (first in selection.names and not selection.allow_missing):
            raise BagError(reason) from None
        text = f"{len(incomplete)} of {whole + len(incomplete)} scenes"
        if selection.split and not selection.allow_missing:
            text = f"{self._tables.folder}: {text} of split {selection.split} are not whole"
            selection.leave_out("scenes", f"{text}: {listed(incomplete)} ({first}: {reason})", self._notices)
        self._notices.add("scenes", f"{text} are left out: {listed(incomplete)} ({first}: {reason})")


def _recording(
    tables: Path, name: str, files: list[_File], poses: Mapping[str, Transform], sweep_format: ScanRows
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
            SensorFile(
                file.stamp_ns,
                file.sensor.channel,
                file.path,
                T_odom_map @ poses[file.ego_pose],
                file.labels,
                file.sample,
            )
            for file in files
        ],
        sweep_format=sweep_format,
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


def _read_sensors(tables: Tables, selection: Selection) -> dict[str, _Sensor]:
    """Calibrated-sensor token -> the LiDAR or a chosen camera; radars are left out.

    A LiDAR of another name stands in for ``LIDAR_TOP`` where it is the only one.
    """
    channels: dict[str, str] = {}
    lidars: dict[str, str] = {}
    for row in tables.rows("sensor"):
        token, channel, modality = row.text("token"), row.text("channel"), row.text("modality")
        if modality == "camera":
            channels[token] = channel
        elif modality == "lidar" or channel == LIDAR:
            lidars[token] = channel
    top = [token for token, channel in lidars.items() if channel == LIDAR]
    if len(lidars) != 1 and not top:
        some = ", ".join(lidars.values()) or "none"
        raise BagError(f"{tables.path('sensor')}: a LiDAR expected, {LIDAR} where there are several, got {some}")
    cameras = selection.of_cameras(sorted(set(channels.values())), tables.path("sensor"))
    channels = {token: channel for token, channel in channels.items() if channel in cameras}
    channels |= dict.fromkeys(top or lidars, LIDAR)
    sensors = {}
    for row in tables.rows("calibrated_sensor"):
        channel_of = channels.get(row.text("sensor_token"))
        if channel_of is not None:
            K = None if channel_of == LIDAR else row.numbers("camera_intrinsic", (3, 3))
            sensors[row.text("token")] = _Sensor(channel_of, _transform(row), K)
    return sensors


def _transform(row: Row) -> Transform:
    """Of the fields ``translation`` [m] and ``rotation`` (quaternion w x y z)."""
    w, x, y, z = row.numbers("rotation", (4,))
    try:
        return make_transform(row.numbers("translation", (3,)).tolist(), (x, y, z, w))
    except ValueError:
        raise row.error("rotation", "a quaternion w x y z that is not zero") from None
