"""KITTI's GPS/IMU packets (oxts) -> poses, by the formulas of the data set's development kit (Geiger et al., 2013).

Latitude and longitude become a Mercator projection that is scaled to be true to length at the drive's start.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sam_adapt_ros.datasets.kitti_files import read_calibration_file, read_timestamps, rigid
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.poses import PoseBuffer

_EARTH_RADIUS = 6378137.0  # metres, at the equator
_PACKET_FIELDS = 30


def read_poses(drive: Path, T_velo_base: NDArray[np.float64]) -> PoseBuffer | None:
    """``T_odom_base`` by stamp, odom being the first pose of base; None where the drive has no ``oxts``.

    T_velo_base: (4, 4), base -> LiDAR. Raises BagError that names the missing or malformed file.
    """
    folder = drive / "oxts"
    files = sorted((folder / "data").glob("*.txt"))
    if not files:
        return None
    stamps = read_timestamps(folder / "timestamps.txt")
    if int(files[-1].stem) >= len(stamps):
        raise BagError(f"{folder / 'timestamps.txt'}: no time stamp for {files[-1].name} ({len(stamps)} lines)")
    calibration = drive.parent / "calib_imu_to_velo.txt"
    T_velo_imu = rigid(read_calibration_file(calibration), calibration)
    T_imu_base = np.linalg.inv(T_velo_imu) @ T_velo_base
    T_world_base = imu_poses(np.stack([_read_packet(file) for file in files])) @ T_imu_base
    T_odom_base = np.linalg.inv(T_world_base[0]) @ T_world_base
    poses = PoseBuffer(max_age_s=None, max_backward_s=None)
    for file, T in zip(files, T_odom_base, strict=True):
        poses.add(stamps[int(file.stem)], T)
    return poses


def imu_poses(packets: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4, 4) ``T_world_imu`` of (N, 30) packets.

    A packet begins with latitude and longitude [degrees], altitude [m], roll, pitch and yaw [rad]. The world's axes are
    east, north, up (REP 103).
    """
    latitude, longitude, altitude, roll, pitch, yaw = packets[:, :6].T
    scale = np.cos(np.radians(latitude[0]))
    T = np.tile(np.eye(4), (len(packets), 1, 1))
    T[:, :3, :3] = Rotation.from_euler("ZYX", np.stack([yaw, pitch, roll], axis=1)).as_matrix()
    T[:, 0, 3] = scale * _EARTH_RADIUS * np.radians(longitude)
    T[:, 1, 3] = scale * _EARTH_RADIUS * np.log(np.tan(np.pi * (90 + latitude) / 360))
    T[:, 2, 3] = altitude
    return T


def _read_packet(path: Path) -> NDArray[np.float64]:
    try:
        values = np.loadtxt(path, ndmin=1)
    except (OSError, ValueError) as error:
        raise BagError(f"{path}: cannot be read: {error}") from None
    if values.shape != (_PACKET_FIELDS,):
        raise BagError(f"{path}: {_PACKET_FIELDS} numbers expected, got {values.size}")
    return values
