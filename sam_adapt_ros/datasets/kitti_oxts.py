"""KITTI's GPS/IMU packets (oxts) -> poses, by the formulas of the data set's development kit (Geiger et al., 2013).

Latitude and longitude become a Mercator projection that is scaled to be true to length at the drive's start.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sam_adapt_ros.datasets.files import numbered_files, read_text
from sam_adapt_ros.datasets.kitti_files import Timestamps, read_calibration_file, rigid
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.poses import PoseBuffer
from sam_adapt_ros.notices import Notices

_EARTH_RADIUS = 6378137.0  # metres, at the equator
_PACKET_FIELDS = 30
_POSE_FIELDS = {"lat": 90.0, "lon": 360.0, "alt": 1e5, "roll": 10.0, "pitch": 10.0, "yaw": 10.0}  # and their limits
_GAP = 1.5  # times the usual time between packets


def read_poses(drive: Path, T_velo_base: NDArray[np.float64], notices: Notices) -> PoseBuffer | None:
    """``T_odom_base`` by stamp, odom being the first pose of base; None where the drive has no ``oxts``.

    T_velo_base: (4, 4), base -> LiDAR. notices: is told of gaps. Raises BagError that names the missing or malformed
    file.
    """
    folder = drive / "oxts"
    if not folder.is_dir():
        return None
    files = numbered_files(folder / "data", (".txt",), notices)
    timestamps = Timestamps(folder / "timestamps.txt")
    stamps = [timestamps.of(number, file) for number, file in files.items()]
    calibration = drive.parent / "calib_imu_to_velo.txt"
    T_velo_imu = rigid(read_calibration_file(calibration), calibration)
    T_imu_base = np.linalg.inv(T_velo_imu) @ T_velo_base
    T_world_base = imu_poses(np.stack([_read_packet(file) for file in files.values()])) @ T_imu_base
    T_odom_base = np.linalg.inv(T_world_base[0]) @ T_world_base
    poses = PoseBuffer(max_age_s=None, max_backward_s=None)
    for stamp, T in zip(stamps, T_odom_base, strict=True):
        poses.add(stamp, T)
    _report_gaps(folder, sorted(stamps), notices)
    return poses


def _report_gaps(folder: Path, stamps: list[int], notices: Notices) -> None:
    """stamps: of the packets, ascending [ns]."""
    steps = np.diff(stamps)
    gaps = np.flatnonzero(steps > _GAP * np.median(steps)) if len(steps) else steps
    if len(gaps):
        longest = gaps[np.argmax(steps[gaps])]
        notices.add(
            "oxts_gaps",
            f"{folder}: {len(gaps)} gaps between packets, the longest of {steps[longest] / 1e9:.2f} s, "
            f"{(stamps[longest] - stamps[0]) / 1e9:.2f} s after the first packet; poses in between are interpolated",
        )


def imu_poses(packets: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4, 4) ``T_world_imu`` of (N, 6 or more) packets.

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
    words = read_text(path).split()
    if len(words) != _PACKET_FIELDS:
        raise BagError(f"{path}: {_PACKET_FIELDS} numbers expected, got {len(words)}")
    values = np.zeros(len(_POSE_FIELDS))
    for place, (name, limit) in enumerate(_POSE_FIELDS.items()):
        try:
            values[place] = float(words[place])
        except ValueError:
            values[place] = np.nan
        if not abs(values[place]) < limit:  # not a number is not, either
            raise BagError(f"{path}: field {name}: a number within ±{limit:g} expected, got {words[place][:40]!r}")
    return values
