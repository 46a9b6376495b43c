"""KITTI raw, synchronized and rectified -> rosbag2, under the names of the nuScenes layout.

Frames: ``base_link`` is on the ground below the LiDAR, whose axes it has (KITTI's set-up puts the LiDAR 1.73 m high);
``CAM_FRONT`` is the *rectified* colour camera 2, so that its CameraInfo has no distortion and P has no fourth column.
Poses (``odom`` to ``base_link``) are written only where the drive has ``oxts``; a drive without has no motion to undo.
Time stamps are taken as UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags.writer import CALIBRATION_FILE, BagWriter, Storage, Version
from sam_adapt_ros.datasets.files import check_space, image_size, read_file, total_size
from sam_adapt_ros.datasets.kitti_files import field, read_calibration_file, read_timestamps, rigid
from sam_adapt_ros.datasets.kitti_oxts import read_poses
from sam_adapt_ros.errors import BagError, CalibrationError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.poses import PoseBuffer
from sam_adapt_ros.geometry.transforms import invert, make_transform, quaternion_from_matrix
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.messages.point_cloud import encode_cloud
from sam_adapt_ros.progress import Progress, no_progress

LIDAR, ODOMETRY, BASE = "LIDAR_TOP", "odom", "base_link"
LIDAR_HEIGHT = 1.73
CAMERAS = {"image_02": "CAM_FRONT", "image_03": "CAM_FRONT_RIGHT"}  # the colour pair; the grey pair sees the same
_MAX_EXTRAPOLATION_S = 0.1


@dataclass(frozen=True, eq=False)
class Recording:
    """One file of one sensor; ``sensor`` is the folder's name."""

    stamp_ns: int
    sensor: str
    path: Path


def convert(
    drive: str | Path,
    output: str | Path,
    *,
    storage: Storage = "mcap",
    bag_version: Version = 9,
    force: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Writes one drive (``.../2011_09_26/2011_09_26_drive_0001_sync``) as a bag and gives its path.

    The calibration is taken from the folder above the drive, where KITTI puts it. progress: in bytes.
    Raises BagError that names the missing or malformed file.
    """
    drive, output = Path(drive), Path(output)
    recordings = _recordings(drive)
    sensors = read_calibration(drive)
    size = total_size(recording.path for recording in recordings)
    check_space(output, size)
    poses = read_poses(drive, T_velo_base=invert(_T_base_lidar()))
    done = 0
    with BagWriter(output, storage, bag_version, force) as writer:
        _write_static(writer, recordings[0].stamp_ns, sensors)
        for recording in recordings:
            if poses is not None:
                _write_pose(writer, recording.stamp_ns, poses)
            data = read_file(recording.path)
            if recording.sensor == "velodyne_points":
                _write_sweep(writer, recording, data)
            else:
                _write_image(writer, recording, data, sensors[CAMERAS[recording.sensor]])
            done += len(data)
            progress(done, size)
        Calibration(LIDAR, BASE, ODOMETRY, _T_base_lidar(), sensors).save(writer.folder / CALIBRATION_FILE)
    return output


def read_calibration(drive: Path) -> dict[str, CameraCalibration]:
    """The rectified cameras that the drive has images of, by name. Raises BagError that names file and field."""
    cam_to_cam, velo_to_cam = drive.parent / "calib_cam_to_cam.txt", drive.parent / "calib_velo_to_cam.txt"
    intrinsics = read_calibration_file(cam_to_cam)
    T_cam0_velo = rigid(read_calibration_file(velo_to_cam), velo_to_cam)
    R_rect = np.eye(4)
    R_rect[:3, :3] = field(intrinsics, "R_rect_00", (3, 3), cam_to_cam)
    cameras = {}
    for folder, name in CAMERAS.items():
        if not (drive / folder).is_dir():
            continue
        number = folder.removeprefix("image_")
        P = field(intrinsics, f"P_rect_{number}", (3, 4), cam_to_cam)
        width, height = field(intrinsics, f"S_rect_{number}", (2,), cam_to_cam)
        # P = K [I | t]: t moves from the rectified reference camera to this one.
        T_cam_rect = np.eye(4)
        T_cam_rect[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        T_cam_lidar = T_cam_rect @ R_rect @ T_cam0_velo
        # The files' rounding leaves rotations that are not quite ones; what is written must be.
        T_cam_lidar = make_transform(T_cam_lidar[:3, 3].tolist(), quaternion_from_matrix(T_cam_lidar))
        model = CameraModel(int(width), int(height), P[:, :3])
        cameras[name] = CameraCalibration(name, _T_base_lidar() @ invert(T_cam_lidar), model)
    return cameras


def _recordings(drive: Path) -> list[Recording]:
    if not drive.is_dir():
        raise BagError(f"{drive}: no such folder")
    recordings = []
    for sensor, pattern in {"velodyne_points": "*.bin", **dict.fromkeys(CAMERAS, "*.*")}.items():
        files = sorted((drive / sensor / "data").glob(pattern))
        if not files:
            if sensor in ("velodyne_points", "image_02"):
                raise BagError(f"{drive / sensor / 'data'}: no files; is this a KITTI raw drive (…_sync)?")
            continue
        path = drive / sensor / "timestamps.txt"
        stamps = read_timestamps(path)
        for file in files:
            if not file.stem.isdigit():
                continue
            if int(file.stem) >= len(stamps):
                raise BagError(f"{path}: no time stamp for {file.name} ({len(stamps)} lines)")
            recordings.append(Recording(stamps[int(file.stem)], sensor, file))
    return sorted(recordings, key=lambda recording: (recording.stamp_ns, recording.sensor))


def _T_base_lidar() -> NDArray[np.float64]:
    T = np.eye(4)
    T[2, 3] = LIDAR_HEIGHT
    return T


def _write_static(writer: BagWriter, stamp_ns: int, cameras: dict[str, CameraCalibration]) -> None:
    transforms = [(BASE, LIDAR, _T_base_lidar())]
    transforms += [(BASE, camera.frame_id, camera.T_base_camera) for camera in cameras.values()]
    writer.write_tf_static(stamp_ns, transforms)


def _write_pose(writer: BagWriter, stamp_ns: int, poses: PoseBuffer) -> None:
    try:
        T_odom_base = poses.lookup(stamp_ns, _MAX_EXTRAPOLATION_S)
    except CalibrationError:
        return  # the drive's poses do not reach this stamp
    writer.write_tf(stamp_ns, [(ODOMETRY, BASE, T_odom_base)])
    writer.write_odometry("/odom", stamp_ns, ODOMETRY, BASE, T_odom_base)


def _write_sweep(writer: BagWriter, recording: Recording, data: bytes) -> None:
    if len(data) % 16:
        raise BagError(f"{recording.path}: rows of 4 float32 expected, got {len(data)} bytes")
    rows = np.frombuffer(data, np.float32).reshape(-1, 4)
    fields = {name: rows[:, column] for column, name in enumerate(("x", "y", "z", "intensity"))}
    writer.write_cloud(f"/{LIDAR}", recording.stamp_ns, LIDAR, encode_cloud(fields))


def _write_image(writer: BagWriter, recording: Recording, data: bytes, camera: CameraCalibration) -> None:
    width, height, image_format = image_size(data, recording.path)
    model = camera.model
    if (width, height) != (model.width, model.height):
        raise BagError(
            f"{recording.path}: {width} x {height}, but the calibration is of {model.width} x {model.height}"
        )
    name, stamp_ns = camera.frame_id, recording.stamp_ns
    writer.write_camera_info(f"/{name}/camera_info", stamp_ns, name, model)
    writer.write_image_bytes(f"/{name}/image_rect_compressed", stamp_ns, name, data, image_format)
