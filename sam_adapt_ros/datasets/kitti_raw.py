"""KITTI raw data (Geiger et al., "Vision meets Robotics: The KITTI Dataset", IJRR 2013), synchronized and rectified.

Frames: ``base_link`` is on the ground below the LiDAR, whose axes it has (KITTI's LiDAR is 1.73 m above the ground);
``CAM_FRONT`` is the *rectified* colour camera 2, so that its CameraInfo has no distortion and P no fourth column.
A drive without ``oxts`` has no poses, so that no motion can be undone. Time stamps are taken as UTC.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import Storage, Version
from sam_adapt_ros.datasets.files import numbered_files
from sam_adapt_ros.datasets.kitti_files import Timestamps, field, read_calibration_file, rigid, rotation
from sam_adapt_ros.datasets.kitti_oxts import read_poses
from sam_adapt_ros.datasets.recording import BASE, LIDAR, ODOMETRY, Recording, SensorFile
from sam_adapt_ros.datasets.scan_rows import KITTI_FIELDS
from sam_adapt_ros.datasets.to_bag import write_bags
from sam_adapt_ros.errors import BagError, CalibrationError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.poses import PoseBuffer
from sam_adapt_ros.geometry.transforms import Transform, invert, make_transform, quaternion_from_matrix
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.progress import Progress, no_progress

LIDAR_HEIGHT = 1.73
"""Metres (Geiger et al., figure 3)."""
CAMERAS = {"image_02": "CAM_FRONT", "image_03": "CAM_FRONT_RIGHT"}
"""The colour pair by folder; the grey pair sees the same."""
IMAGES = (".png", ".jpg", ".jpeg")
"""Endings of images, the data set's own first."""
_MAX_EXTRAPOLATION_S = 0.1
_LARGEST_BASELINE = 100.0  # metres


def convert(
    drive: str | Path,
    output: str | Path,
    *,
    storage: Storage = "mcap",
    bag_version: Version = 9,
    force: bool = False,
    progress: Progress = no_progress,
    notices: Notices | None = None,
) -> Path:
    """Writes one drive (``.../2011_09_26/2011_09_26_drive_0001_sync``) as a bag, see ``to_bag``. Returns its path.

    notices: is told what is left out, missing or guessed. Raises BagError that names the missing or malformed file.
    """
    notices = Notices() if notices is None else notices
    recording = read_recording(_named(drive), notices)
    write_bags([recording], [Path(output)], storage, bag_version, force, progress, notices)
    return Path(output)


def _named(drive: str | Path) -> Path:
    """The drive by its own name, whose folder has the calibration: ``.`` has neither."""
    return Path(os.path.abspath(drive))  # noqa: PTH100 (a link stays what it is called)


def read_recording(drive: Path, notices: Notices) -> Recording:
    """The drive's sweeps and colour images. The calibration is that of the folder above, where KITTI puts it.

    Raises BagError that names the missing or malformed file.
    """
    if not drive.is_dir():
        raise BagError(f"{drive}: no such folder")
    drive = _named(drive)
    calibration = Calibration(LIDAR, BASE, ODOMETRY, _T_base_lidar(), read_cameras(drive))
    poses = read_poses(drive, invert(calibration.T_base_lidar), notices)
    files = _sensor_files(drive, "velodyne_points", LIDAR, (".bin",), poses, notices)
    for folder, camera in CAMERAS.items():
        if camera in calibration.cameras:
            files += _sensor_files(drive, folder, camera, IMAGES, poses, notices)
    files.sort(key=lambda file: (file.stamp_ns, file.path))
    unplaced = sum(file.T_odom_base is None for file in files)
    if poses is None:
        notices.add("no_poses", f"{drive}: no oxts, so no poses: the vehicle's motion cannot be undone")
    elif unplaced:
        notices.add("no_poses", f"{drive / 'oxts'}: {unplaced} of {len(files)} files lie outside its packets: no poses")
    return Recording(drive.name, calibration, files, KITTI_FIELDS)


def read_cameras(drive: Path) -> dict[str, CameraCalibration]:
    """The rectified cameras that the drive has images of (camera 2 in any case), by name.

    Raises BagError that names file and field.
    """
    cam_to_cam, velo_to_cam = drive.parent / "calib_cam_to_cam.txt", drive.parent / "calib_velo_to_cam.txt"
    intrinsics = read_calibration_file(cam_to_cam)
    T_cam0_velo = rigid(read_calibration_file(velo_to_cam), velo_to_cam)
    R_rect = np.eye(4)
    R_rect[:3, :3] = rotation(intrinsics, "R_rect_00", cam_to_cam)
    cameras = {}
    for folder, name in CAMERAS.items():
        if folder != "image_02" and not any((drive / folder / "data").glob("[!.]*")):
            continue
        number = folder.removeprefix("image_")
        P = field(intrinsics, f"P_rect_{number}", (3, 4), cam_to_cam)
        width, height = field(intrinsics, f"S_rect_{number}", (2,), cam_to_cam)
        try:
            model = CameraModel(int(width), int(height), P[:, :3])
        except CalibrationError as error:
            raise BagError(f"{cam_to_cam}: fields P_rect_{number}, S_rect_{number}: {error}") from None
        T_cam_rect = np.eye(4)  # P = K [I | t]: t moves from the rectified reference camera to this one
        with np.errstate(all="ignore"):
            T_cam_rect[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        if not np.abs(T_cam_rect[:3, 3]).max() < _LARGEST_BASELINE:
            raise BagError(
                f"{cam_to_cam}: field P_rect_{number}: K [I | t] with t in metres expected, got {P.tolist()}"
            )
        T_cam_lidar = T_cam_rect @ R_rect @ T_cam0_velo
        # The files' rounding leaves rotations that are not quite ones; what is written must be.
        T_cam_lidar = make_transform(T_cam_lidar[:3, 3].tolist(), quaternion_from_matrix(T_cam_lidar))
        cameras[name] = CameraCalibration(name, _T_base_lidar() @ invert(T_cam_lidar), model)
    return cameras


def _sensor_files(
    drive: Path, folder: str, sensor: str, suffixes: Sequence[str], poses: PoseBuffer | None, notices: Notices
) -> list[SensorFile]:
    """Files are numbered by the lines of ``timestamps.txt``; numbers may be missing, as in drive 0009."""
    files = numbered_files(drive / folder / "data", suffixes, notices)
    timestamps = Timestamps(drive / folder / "timestamps.txt")
    stamps = {path: timestamps.of(number, path) for number, path in files.items()}
    return [SensorFile(stamp_ns, sensor, path, _pose(poses, stamp_ns)) for path, stamp_ns in stamps.items()]


def _pose(poses: PoseBuffer | None, stamp_ns: int) -> Transform | None:
    """``T_odom_base``; None beyond the drive's poses."""
    try:
        return None if poses is None else poses.lookup(stamp_ns, _MAX_EXTRAPOLATION_S)
    except CalibrationError:
        return None


def _T_base_lidar() -> NDArray[np.float64]:
    return make_transform((0.0, 0.0, LIDAR_HEIGHT), (0.0, 0.0, 0.0, 1.0))
