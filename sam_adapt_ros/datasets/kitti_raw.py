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

from sam_adapt_ros.bags import Storage, Version
from sam_adapt_ros.datasets.files import numbered_files
from sam_adapt_ros.datasets.kitti_files import (
    CAMERAS,
    T_BASE_LIDAR,
    Timestamps,
    field,
    read_calibration_file,
    rectified_camera,
    rigid,
    rotation,
)
from sam_adapt_ros.datasets.kitti_oxts import read_poses
from sam_adapt_ros.datasets.recording import BASE, LIDAR, ODOMETRY, Recording, SensorFile
from sam_adapt_ros.datasets.scan_rows import KITTI_FIELDS, ScanRows
from sam_adapt_ros.datasets.to_bag import write_bags
from sam_adapt_ros.errors import BagError, CalibrationError
from sam_adapt_ros.geometry.poses import PoseBuffer
from sam_adapt_ros.geometry.transforms import Transform, invert
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.progress import Progress, no_progress

IMAGES = (".png", ".jpg", ".jpeg")
"""Endings of images, the data set's own first."""
_MAX_EXTRAPOLATION_S = 0.1


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
    calibration = Calibration(LIDAR, BASE, ODOMETRY, T_BASE_LIDAR, read_cameras(drive))
    poses = read_poses(drive, invert(calibration.T_base_lidar), notices)
    files = _sensor_files(drive, "velodyne_points", LIDAR, (".bin",), poses, notices)
    for number, camera in CAMERAS.items():
        if camera in calibration.cameras:
            files += _sensor_files(drive, f"image_{number}", camera, IMAGES, poses, notices)
    files.sort(key=lambda file: (file.stamp_ns, file.path))
    unplaced = sum(file.T_odom_base is None for file in files)
    if poses is None:
        notices.add("no_poses", f"{drive}: no oxts, so no poses: the vehicle's motion cannot be undone")
    elif unplaced:
        notices.add("no_poses", f"{drive / 'oxts'}: {unplaced} of {len(files)} files lie outside its packets: no poses")
    return Recording(drive.name, calibration, files, ScanRows(KITTI_FIELDS))


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
    for number, name in CAMERAS.items():
        if number != "02" and not any((drive / f"image_{number}" / "data").glob("[!.]*")):
            continue
        P = field(intrinsics, f"P_rect_{number}", (3, 4), cam_to_cam)
        width, height = field(intrinsics, f"S_rect_{number}", (2,), cam_to_cam)
        size, fields = (int(width), int(height)), f"P_rect_{number}, S_rect_{number}"
        cameras[name] = rectified_camera(name, P, size, R_rect @ T_cam0_velo, cam_to_cam, fields)
    return cameras


def _sensor_files(
    drive: Path, folder: str, sensor: str, suffixes: Sequence[str], poses: PoseBuffer | None, notices: Notices
) -> list[SensorFile]:
    """Files are numbered by the lines of ``timestamps.txt``; numbers may be missing, as in drive 0009."""
    files = numbered_files(drive / folder / "data", suffixes, notices, hint="; is this a KITTI raw drive (…_sync)?")
    timestamps = Timestamps(drive / folder / "timestamps.txt")
    stamps = {path: timestamps.of(number, path) for number, path in files.items()}
    return [SensorFile(stamp_ns, sensor, path, _pose(poses, stamp_ns)) for path, stamp_ns in stamps.items()]


def _pose(poses: PoseBuffer | None, stamp_ns: int) -> Transform | None:
    """``T_odom_base``; None beyond the drive's poses."""
    try:
        return None if poses is None else poses.lookup(stamp_ns, _MAX_EXTRAPOLATION_S)
    except CalibrationError:
        return None
