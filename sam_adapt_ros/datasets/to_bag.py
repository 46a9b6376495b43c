"""Recordings of any data set -> rosbag2.

The bag has ``/LIDAR_TOP`` (PointCloud2), ``/<camera>/image_rect_compressed`` (the encoded files as they are;
``/<camera>/image_raw/compressed`` where they are distorted) with ``/<camera>/camera_info``, ``/ground_truth/labels``,
``/tf_static``, and, where poses are known, ``/tf`` and ``/odom`` at the stamp of every file. Data sets have no
velocities at these stamps, so the odometry's twist stays zero. The bag's folder also has a calibration file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sam_adapt_ros.bags import BagWriter, Storage, Version
from sam_adapt_ros.bags.fingerprint import fingerprint
from sam_adapt_ros.datasets.dataset import RecordingDataset
from sam_adapt_ros.datasets.files import check_space, image_size, read_file, total_size
from sam_adapt_ros.datasets.recording import BASE, LIDAR, MAP, ODOMETRY, Recording, SensorFile, Sweep, SweepFormat
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE
from sam_adapt_ros.messages.image_file import is_whole
from sam_adapt_ros.messages.point_cloud import encode_cloud
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.parallel import Engine, Shard, map_shards
from sam_adapt_ros.progress import Progress, no_progress

LABELS_TOPIC = "/ground_truth/labels"
_RECTIFIED, _RAW = "image_rect_compressed", "image_raw/compressed"


def convert(
    dataset: RecordingDataset,
    output: str | Path,
    *,
    storage: Storage = "mcap",
    bag_version: Version = 9,
    force: bool = False,
    progress: Progress = no_progress,
    notices: Notices | None = None,
    engine: Engine | None = None,
) -> list[Path]:
    """Writes one bag a recording: ``output`` itself where one was to be opened, ``output/<recording>`` for several.

    storage, bag_version, force: as for ``BagWriter``. progress: of the bytes read. notices: is told what is guessed.
    engine: of several recordings, see ``map_shards``; bags that are there already, made of these very files, stay.
    Returns the bags.

    Raises BagError that names what is missing, damaged, taken or too large for the disk, and what ``map_shards`` does.
    Whether all files are there and fit is found out before anything is written.
    """
    notices = Notices() if notices is None else notices
    recordings, one = dataset.recordings, len(dataset.recordings) + len(dataset.left_out) == 1
    size = total_size(path for recording in recordings for path in recording.paths)
    check_space(Path(output) if one else Path(output) / recordings[0].name, size)
    formats = [recording.sweep_format.fitted(recording.sweeps, notices) for recording in recordings]
    works = [_Work(*each, storage, bag_version) for each in zip(recordings, formats, strict=True)]
    if one:
        _write(works[0], BagWriter(output, storage, bag_version, force), progress, notices)
        return [Path(output)]
    shards = [
        Shard(work.recording.name, work, total_size(work.recording.paths), _key(work), gpu=False) for work in works
    ]
    settings = {"dataset": type(dataset).__name__, "storage": storage, "bag_version": bag_version}
    return map_shards(_write_bag, shards, Path(output), engine, progress, settings, force)


@dataclass(frozen=True)
class _Work:
    """A recording to be written."""

    recording: Recording
    sweep_format: SweepFormat
    storage: Storage
    bag_version: Version


def _key(work: _Work) -> str:
    """Of the files that the bag is made of: their places, sizes, times and stamps."""
    files = [(fingerprint(path), file.stamp_ns) for file in work.recording.files for path in file.paths]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:12]


def _write_bag(work: _Work, output: Path, progress: Progress) -> None:
    _write(work, BagWriter(output, work.storage, work.bag_version), progress, Notices())


def _write(work: _Work, writer: BagWriter, progress: Progress, notices: Notices) -> None:
    size, done = total_size(work.recording.paths), 0
    with writer:
        export = _Export(work.recording, work.sweep_format, writer, notices)
        for file in work.recording.files:
            export.add(file)
            done += sum(path.stat().st_size for path in file.paths)
            progress(done, size)


class _Export:
    """Writes a recording into a bag, file by file."""

    def __init__(self, recording: Recording, sweep_format: SweepFormat, writer: BagWriter, notices: Notices) -> None:
        self._recording, self._sweep_format, self._writer = recording, sweep_format, writer
        self._notices = notices
        self._calibration = recording.calibration
        self._pose_stamp_ns: int | None = None
        transforms = [(BASE, LIDAR, self._calibration.T_base_lidar)]
        transforms += [(BASE, camera.frame_id, camera.T_base_camera) for camera in self._calibration.cameras.values()]
        if recording.T_map_odom is not None:
            transforms.append((MAP, ODOMETRY, recording.T_map_odom))
        writer.write_tf_static(recording.files[0].stamp_ns, transforms)
        self._calibration.save(writer.folder / CALIBRATION_FILE)

    def add(self, file: SensorFile) -> None:
        if file.sensor == LIDAR:
            sweep = self._sweep_format.read(file)
            self._write_pose(file)
            self._write_sweep(file, sweep)
        else:
            data = read_file(file.path)
            self._write_pose(file)
            self._write_image(file, data)

    def _write_pose(self, file: SensorFile) -> None:
        if file.T_odom_base is not None and file.stamp_ns != self._pose_stamp_ns:
            self._writer.write_tf(file.stamp_ns, [(ODOMETRY, BASE, file.T_odom_base)])
            self._writer.write_odometry("/odom", file.stamp_ns, ODOMETRY, BASE, file.T_odom_base)
            self._pose_stamp_ns = file.stamp_ns

    def _write_sweep(self, file: SensorFile, sweep: Sweep) -> None:
        self._writer.write_cloud(f"/{LIDAR}", file.stamp_ns, LIDAR, encode_cloud(sweep.fields))
        if sweep.labels is not None:
            colors = self._recording.label_colors
            if len(sweep.labels) and not 0 <= sweep.labels.min() <= sweep.labels.max() < len(colors):
                raise BagError(
                    f"{file.labels}: class ids from 0 to {len(colors) - 1} expected, got {sweep.labels.max()}"
                )
            self._writer.write_labels(LABELS_TOPIC, file.stamp_ns, LIDAR, sweep.points, sweep.labels, 1.0, colors)

    def _write_image(self, file: SensorFile, data: bytes) -> None:
        camera = self._calibration.cameras[file.sensor]
        width, height, image_format = image_size(data, file.path)
        if (width, height) != (camera.model.width, camera.model.height):
            expected = f"{camera.model.width} x {camera.model.height}"
            raise BagError(f"{file.path}: {width} x {height}, but the calibration is of {expected}")
        if not is_whole(data):
            self._notices.add(
                "cut_images",
                f"{file.path}: {image_format.upper()} without its end; such images are written as they are, and left "
                "out where the bag is read",
            )
        info, image = f"/{file.sensor}/camera_info", f"/{file.sensor}/{_RAW if camera.model.D else _RECTIFIED}"
        self._writer.write_camera_info(info, file.stamp_ns, camera.frame_id, camera.model)
        self._writer.write_image_bytes(image, file.stamp_ns, camera.frame_id, data, image_format)
