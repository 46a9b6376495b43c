"""nuScenes -> rosbag2.

Frames: ``map`` (nuScenes' global frame) -> ``odom`` (the same axes, at the scene's first ego pose, so that the
single precision of viewers is enough) -> ``base_link`` (nuScenes' ego frame) -> ``LIDAR_TOP``, ``CAM_FRONT``, ...
``odom`` to ``base_link`` is written at the stamp of every sensor message. The data set has no velocities at these
stamps, so the twist of the odometry stays zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags.writer import CALIBRATION_FILE, BagWriter, Storage, Version
from sam_adapt_ros.datasets.files import check_space, image_size, read_file, total_size
from sam_adapt_ros.datasets.nuscenes_tables import LIDAR, Recording, Scene, read_scenes
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.transforms import invert
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.messages.point_cloud import encode_cloud
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.taxonomy import Taxonomy

if TYPE_CHECKING:
    from sam_adapt_ros.datasets.nuscenes_tables import Sensor

MAP, ODOMETRY, BASE = "map", "odom", "base_link"
LABELS_TOPIC = "/ground_truth/labels"
_POINT_FIELDS = 5  # x y z intensity ring, float32


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
    """Writes one bag a scene: ``output`` itself for one scene, ``output/<scene>`` for several. Gives the bags.

    root: the data set's folder, with ``v1.0-*``, ``samples``, and ``sweeps`` and ``lidarseg`` where installed.
    scenes: names or patterns; none: all. sweeps: also what lies between the keyframes (20 Hz LiDAR, 12 Hz cameras).
    dataset_version: ``v1.0-mini`` and so on; "": the only one there.
    progress: in bytes.
    Raises BagError that names the missing table or file; all of them are looked for before anything is written.
    """
    root, output = Path(root), Path(output)
    chosen = read_scenes(root, scenes, sweeps, dataset_version)
    size = total_size(path for scene in chosen for path in scene.files)
    check_space(output, size)
    targets = [output] if len(chosen) == 1 else [output / scene.name for scene in chosen]
    writers = [BagWriter(target, storage, bag_version, force) for target in targets]  # refuse taken names at once
    report = _Report(size, progress)
    for scene, writer in zip(chosen, writers, strict=True):
        with writer:
            _SceneWriter(scene, writer, report).run()
    return targets


@dataclass
class _Report:
    """Counts the bytes that were read."""

    size: int
    progress: Progress
    done: int = 0

    def add(self, count: int) -> None:
        self.done += count
        self.progress(self.done, self.size)


class _SceneWriter:
    """Writes one scene, message by message in the order of the stamps."""

    def __init__(self, scene: Scene, writer: BagWriter, report: _Report) -> None:
        self.scene = scene
        self.writer = writer
        self.report = report
        taxonomy = Taxonomy.load("nuscenes16")
        self.colors = taxonomy.colors[taxonomy.lookup("nuscenes_lidarseg")[:256]]
        self.T_odom_map = np.eye(4)
        self.T_odom_map[:3, 3] = -scene.recordings[0].T_map_base[:3, 3]
        self.cameras: dict[str, CameraModel] = {}

    def run(self) -> None:
        self._write_static()
        last_stamp = -1
        for recording in self.scene.recordings:
            if recording.stamp_ns != last_stamp:
                self._write_pose(recording)
                last_stamp = recording.stamp_ns
            if recording.channel == LIDAR:
                self._write_sweep(recording)
            else:
                self._write_image(recording)
        self._save_calibration()

    def _write_static(self) -> None:
        transforms = [(BASE, name, sensor.T_base_sensor) for name, sensor in sorted(self.scene.sensors.items())]
        transforms.append((MAP, ODOMETRY, invert(self.T_odom_map)))
        self.writer.write_tf_static(self.scene.recordings[0].stamp_ns, transforms)

    def _write_pose(self, recording: Recording) -> None:
        T_odom_base = self.T_odom_map @ recording.T_map_base
        self.writer.write_tf(recording.stamp_ns, [(ODOMETRY, BASE, T_odom_base)])
        self.writer.write_odometry("/odom", recording.stamp_ns, ODOMETRY, BASE, T_odom_base)

    def _write_sweep(self, recording: Recording) -> None:
        rows = _read_points(self._read(recording.path), recording.path)
        fields = {
            name: np.ascontiguousarray(rows[:, column]) for column, name in enumerate(("x", "y", "z", "intensity"))
        }
        fields["ring"] = rows[:, 4].astype(np.uint16)
        self.writer.write_cloud(f"/{LIDAR}", recording.stamp_ns, LIDAR, encode_cloud(fields))
        if recording.labels is not None:
            class_id = np.frombuffer(self._read(recording.labels), np.uint8)
            if len(class_id) != len(rows):
                raise BagError(f"{recording.labels}: {len(rows)} labels expected, got {len(class_id)}")
            certain = np.ones(len(rows), np.float32)
            points = np.ascontiguousarray(rows[:, :3])
            self.writer.write_labels(LABELS_TOPIC, recording.stamp_ns, LIDAR, points, class_id, certain, self.colors)

    def _write_image(self, recording: Recording) -> None:
        data = self._read(recording.path)
        width, height, image_format = image_size(data, recording.path)
        camera = self.cameras.get(recording.channel)
        if camera is None or (camera.width, camera.height) != (width, height):
            camera = self.cameras[recording.channel] = _camera(self.scene.sensors[recording.channel], width, height)
        topic, stamp_ns = f"/{recording.channel}", recording.stamp_ns
        self.writer.write_camera_info(f"{topic}/camera_info", stamp_ns, recording.channel, camera)
        self.writer.write_image_bytes(f"{topic}/image_rect_compressed", stamp_ns, recording.channel, data, image_format)

    def _save_calibration(self) -> None:
        cameras = {
            name: CameraCalibration(name, self.scene.sensors[name].T_base_sensor, model)
            for name, model in self.cameras.items()
        }
        Calibration(LIDAR, BASE, ODOMETRY, self.scene.sensors[LIDAR].T_base_sensor, cameras).save(
            self.writer.folder / CALIBRATION_FILE
        )

    def _read(self, path: Path) -> bytes:
        data = read_file(path)
        self.report.add(len(data))
        return data


def _read_points(data: bytes, path: Path) -> NDArray[np.float32]:
    """(N, 5) float32: x y z [m], intensity, ring."""
    if len(data) % (4 * _POINT_FIELDS):
        raise BagError(f"{path}: rows of {_POINT_FIELDS} float32 expected, got {len(data)} bytes")
    return np.frombuffer(data, np.float32).reshape(-1, _POINT_FIELDS)


def _camera(sensor: Sensor, width: int, height: int) -> CameraModel:
    assert sensor.K is not None
    return CameraModel(width, height, sensor.K)
