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

from sam_adapt_ros.datasets.dataset import RecordingDataset
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
from sam_adapt_ros.datasets.selection import Selection, split_members
from sam_adapt_ros.errors import BagError, CalibrationError
from sam_adapt_ros.geometry.poses import PoseBuffer
from sam_adapt_ros.geometry.transforms import Transform, invert
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

IMAGES = (".png", ".jpg", ".jpeg")
"""Endings of images, the data set's own first."""
_MAX_EXTRAPOLATION_S = 0.1


class KittiRaw(RecordingDataset):
    """Drives of KITTI raw, which have no labels."""

    name = "kitti_raw"
    mapping = ""

    def __init__(
        self,
        roots: Sequence[str | Path],
        selection: Selection = Selection(),
        taxonomy: Taxonomy | None = None,
        notices: Notices | None = None,
    ) -> None:
        """roots: drives (``.../2011_09_26/2011_09_26_drive_0001_sync``), or folders of drives, or of their dates.
        notices: is told what is left out, missing or guessed.

        Raises BagError that names the missing or malformed file.
        """
        notices = Notices() if notices is None else notices
        drives = {drive.name: drive for root in roots for drive in _find_drives(Path(root))}
        members = split_members({}, selection.split, self.name)
        chosen = selection.choose(drives, members, ", ".join(map(str, roots)), notices)
        super().__init__([read_recording(drives[name], selection, notices) for name in chosen], taxonomy, selection)


def _find_drives(root: Path) -> list[Path]:
    """The drives below a root, by their own names: ``.`` has neither a name nor the calibration above it."""
    if not root.is_dir():
        raise BagError(f"{root}: no such folder")
    root = Path(os.path.abspath(root))  # noqa: PTH100 (a link stays what it is called)
    if (root / "velodyne_points").is_dir():
        return [root]
    below = [path.parent for depth in ("*", "*/*") for path in sorted(root.glob(f"{depth}/velodyne_points"))]
    return below or [root]


def read_recording(drive: Path, selection: Selection, notices: Notices) -> Recording:
    """The drive's sweeps and colour images. The calibration is that of the folder above, where KITTI puts it.

    Raises BagError that names the missing or malformed file.
    """
    cameras = read_cameras(drive)
    wanted = selection.of_cameras(cameras, drive)
    calibration = Calibration(LIDAR, BASE, ODOMETRY, T_BASE_LIDAR, {name: cameras[name] for name in wanted})
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
    stamps = {number: timestamps.of(number, path) for number, path in files.items()}
    return [
        SensorFile(stamps[number], sensor, path, _pose(poses, stamps[number]), frame=f"{number:010d}")
        for number, path in files.items()
    ]


def _pose(poses: PoseBuffer | None, stamp_ns: int) -> Transform | None:
    """``T_odom_base``; None beyond the drive's poses."""
    try:
        return None if poses is None else poses.lookup(stamp_ns, _MAX_EXTRAPOLATION_S)
    except CalibrationError:
        return None
