"""A small made-up drive in KITTI raw's layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CAM_TO_CAM = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.240000e+02 3.700000e+01
R_rect_00: 1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0
P_rect_02: 7.2e+01 0.0 6.0e+01 4.5e+00 0.0 7.2e+01 1.7e+01 2.0e-02 0.0 0.0 1.0 2.7e-03
"""
VELO_TO_CAM = "calib_time: x\nR: 0 -1 0 0 0 -1 1 0 0\nT: -0.004 -0.076 -0.27\n"
IMU_TO_VELO = "calib_time: x\nR: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.8\n"


def write_drive(
    root: Path, frames: int = 4, oxts: bool = False, missing_scan: int | None = None, points: int = 30
) -> Path:
    """A car that drives east at 10 m/s from KITTI's latitude; camera 10 ms, GPS 3 ms behind the LiDAR."""
    drive = root / "2011_09_26" / "2011_09_26_drive_0001_sync"
    lags = {"velodyne_points": 0, "image_02": 10, **({"oxts": 3} if oxts else {})}
    (drive.parent).mkdir(parents=True)
    (drive.parent / "calib_cam_to_cam.txt").write_text(CAM_TO_CAM)
    (drive.parent / "calib_velo_to_cam.txt").write_text(VELO_TO_CAM)
    (drive.parent / "calib_imu_to_velo.txt").write_text(IMU_TO_VELO)
    image = cv2.imencode(".png", np.zeros((37, 124, 3), np.uint8))[1].tobytes()
    for sensor, lag in lags.items():
        (drive / sensor / "data").mkdir(parents=True)
        stamps = [f"2011-09-26 13:00:{i // 10:02d}.{100 * (i % 10) + lag:03d}000001\n" for i in range(frames)]
        (drive / sensor / "timestamps.txt").write_text("".join(stamps))
        for i in range(frames):
            if sensor == "velodyne_points" and i != missing_scan:
                cloud = np.random.default_rng(i).uniform(1, 20, (points, 4)).astype(np.float32)
                (drive / sensor / "data" / f"{i:010d}.bin").write_bytes(cloud.tobytes())
            elif sensor == "image_02":
                (drive / sensor / "data" / f"{i:010d}.png").write_bytes(image)
            elif sensor == "oxts":
                metres = 10 * (0.1 * i + 0.003)
                longitude = 8.4 + np.degrees(metres / (6378137.0 * np.cos(np.radians(49.0))))
                packet = [49.0, longitude, 112.0, 0.0, 0.0, 0.0] + [0.0] * 24
                (drive / sensor / "data" / f"{i:010d}.txt").write_text(" ".join(repr(float(value)) for value in packet))
    return drive
