"""KITTI raw -> bag: the real clip against KITTI's own projection formula, and made-up drives."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_adapt_ros.bags import BagReader, MessageReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import kitti_raw
from sam_adapt_ros.datasets.kitti_files import read_timestamps
from sam_adapt_ros.datasets.kitti_oxts import imu_poses
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.messages import read_points, stamp_ns

KITTI = Config.load("kitti")
CAM_TO_CAM = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.240000e+02 3.700000e+01
R_rect_00: 1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0
P_rect_02: 7.2e+01 0.0 6.0e+01 4.5e+00 0.0 7.2e+01 1.7e+01 2.0e-02 0.0 0.0 1.0 2.7e-03
"""
VELO_TO_CAM = "calib_time: x\nR: 0 -1 0 0 0 -1 1 0 0\nT: -0.004 -0.076 -0.27\n"
IMU_TO_VELO = "calib_time: x\nR: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.8\n"


def numbers(path: Path, name: str) -> np.ndarray:
    (line,) = [line for line in path.read_text().splitlines() if line.startswith(f"{name}:")]
    return np.array(line.split(":", 1)[1].split(), float)


@pytest.fixture(scope="module")
def clip(real_data, tmp_path_factory):
    drive = real_data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_9001_sync"
    return drive, kitti_raw.convert(drive, tmp_path_factory.mktemp("kitti") / "bag")


def test_clip_projects_as_kitti_says(clip) -> None:
    drive, bag = clip
    calibration = drive.parent / "calib_cam_to_cam.txt"
    P, R_rect = numbers(calibration, "P_rect_02").reshape(3, 4), numbers(calibration, "R_rect_00").reshape(3, 3)
    velo = drive.parent / "calib_velo_to_cam.txt"
    R, T = numbers(velo, "R").reshape(3, 3), numbers(velo, "T")
    with BagReader(bag, KITTI) as reader:
        frames = list(reader.frames())
        assert reader.counts.frames == 12 and not reader.counts.dropped
        assert reader.counts.cameras == {"no_motion.CAM_FRONT": 12}  # no poses: nothing to undo
    for index, frame in enumerate(frames):
        points = np.fromfile(drive / "velodyne_points" / "data" / f"{index:010d}.bin", np.float32).reshape(-1, 4)
        assert np.array_equal(frame.points, points[:, :3])
        (view,) = frame.views
        assert view.stamp_ns - frame.stamp_ns == 10_000_000
        image = cv2.imread(str(drive / "image_02" / "data" / f"{index:010d}.png"))[:, :, ::-1]
        assert np.array_equal(view.image, image)
        rectified = (points[:, :3].astype(float) @ R.T + T) @ R_rect.T
        homogeneous = np.column_stack([rectified, np.ones(len(points))]) @ P.T
        expected = homogeneous[:, :2] / homogeneous[:, 2:]
        inside = (homogeneous[:, 2] > 1) & (expected >= 0).all(1) & (expected < (1241, 374)).all(1)
        in_camera = frame.points @ view.T_camera_lidar[:3, :3].T + view.T_camera_lidar[:3, 3]
        uv, _, valid = view.camera.project(in_camera[inside])
        assert inside.sum() > 15_000 and valid.all()
        assert np.abs(uv - expected[inside]).max() < 0.01


def test_clip_is_passed_on_untouched(clip) -> None:
    drive, bag = clip
    with MessageReader(bag) as source:
        assert not {"/tf", "/odom", "/ground_truth/labels"} & set(source.topics)
        images = [message.decode() for message in source.messages(["/CAM_FRONT/image_rect_compressed"])]
        clouds = [read_points(message.decode()) for message in source.messages(["/LIDAR_TOP"])]
    for index, image in enumerate(images):
        assert bytes(image.data) == (drive / "image_02" / "data" / f"{index:010d}.png").read_bytes()
        assert image.format == "png"
    points = np.fromfile(drive / "velodyne_points" / "data" / "0000000003.bin", np.float32).reshape(-1, 4)
    assert clouds[3].fields == ("x", "y", "z", "intensity")
    assert np.array_equal(clouds[3].field("intensity"), points[:, 3])


def write_drive(root: Path, frames: int = 4, oxts: bool = False, missing_scan: int | None = None) -> Path:
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
                cloud = np.random.default_rng(i).uniform(1, 20, (30, 4)).astype(np.float32)
                (drive / sensor / "data" / f"{i:010d}.bin").write_bytes(cloud.tobytes())
            elif sensor == "image_02":
                (drive / sensor / "data" / f"{i:010d}.png").write_bytes(image)
            elif sensor == "oxts":
                metres = 10 * (0.1 * i + 0.003)
                longitude = 8.4 + np.degrees(metres / (6378137.0 * np.cos(np.radians(49.0))))
                packet = [49.0, longitude, 112.0, 0.0, 0.0, 0.0] + [0.0] * 24
                (drive / sensor / "data" / f"{i:010d}.txt").write_text(" ".join(repr(float(value)) for value in packet))
    return drive


def test_poses_of_oxts_undo_the_motion(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True)
    bag = kitti_raw.convert(drive, tmp_path / "bag", storage="sqlite3", bag_version=8)
    with BagReader(bag, KITTI) as reader:
        frames = list(reader.frames())
        assert not reader.counts.cameras and len(frames) == 4
    still = kitti_raw.read_cameras(drive)["CAM_FRONT"]
    T_camera_base = np.linalg.inv(still.T_base_camera)
    for frame in frames:
        (view,) = frame.views
        T_base_lidar = np.eye(4)
        T_base_lidar[:3, 3] = -0.1, 0, kitti_raw.LIDAR_HEIGHT  # 10 m/s for 10 ms: the car has moved on
        assert np.abs(view.T_camera_lidar - T_camera_base @ T_base_lidar).max() < 1e-6
    with MessageReader(bag) as source:
        stamps = [stamp_ns(message.decode().header) for message in source.messages(["/odom"])]
    assert stamps == sorted(stamps) and len(stamps) == 8  # at every sensor stamp


def test_imu_poses_are_those_of_the_development_kit() -> None:
    """Against its formula, spelled out for one packet."""
    packets = np.zeros((2, 30))
    packets[0, :6] = 49.01, 8.43, 110.0, 0.01, -0.02, 1.2
    packets[1, :6] = 49.011, 8.431, 111.5, -0.03, 0.04, 1.3
    T = imu_poses(packets)
    scale = np.cos(np.radians(49.01))
    x = scale * 6378137 * np.pi * 8.431 / 180
    y = scale * 6378137 * np.log(np.tan((90 + 49.011) * np.pi / 360))
    assert np.allclose(T[1, :3, 3], (x, y, 111.5))
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a), np.sin(a)) for a in packets[1, 3:6])
    Rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    Ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    Rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    assert np.allclose(T[1, :3, :3], Rz @ Ry @ Rx)


def test_missing_scan_leaves_a_gap(tmp_path: Path) -> None:
    """KITTI's drive 0009 lacks four scans; the others keep their stamps."""
    drive = write_drive(tmp_path, missing_scan=1)
    with BagReader(kitti_raw.convert(drive, tmp_path / "bag"), KITTI) as reader:
        stamps = [frame.stamp_ns for frame in reader.frames()]
    assert np.diff(stamps).tolist() == [200_000_000, 100_000_000]


def test_time_stamps(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("2011-09-26 13:02:25.967790592\n2011-09-26 13:02:26\n\n")
    assert read_timestamps(tmp_path / "t.txt") == [1317042145_967790592, 1317042146_000000000]
    (tmp_path / "t.txt").write_text("yesterday\n")
    with pytest.raises(BagError, match=r"t\.txt:1: a time stamp expected, got 'yesterday'"):
        read_timestamps(tmp_path / "t.txt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d.parent / "calib_cam_to_cam.txt").unlink(), r"calib_cam_to_cam\.txt: cannot be read"),
        (lambda d: (d.parent / "calib_velo_to_cam.txt").write_text("R: 1 2\nT: 0 0 0"), "R: 9 numbers expected, got 2"),
        (lambda d: (d.parent / "calib_cam_to_cam.txt").write_text("R_rect_00: 1\n"), "field .* expected|is missing"),
        (lambda d: (d / "image_02" / "timestamps.txt").unlink(), r"image_02/timestamps\.txt: cannot be read"),
        (lambda d: (d / "image_02" / "timestamps.txt").write_text("2011-09-26 13:00:00\n"), "no time stamp for"),
        (lambda d: [f.unlink() for f in (d / "velodyne_points" / "data").iterdir()], "velodyne_points/data: no files"),
        (lambda d: [f.unlink() for f in (d / "image_02" / "data").iterdir()], "image_02/data: no files"),
        (lambda d: (d / "velodyne_points" / "data" / "0000000001.bin").write_bytes(b"123"), "rows of 4 float32"),
        (
            lambda d: (d / "image_02" / "data" / "0000000001.png").write_bytes(
                cv2.imencode(".png", np.zeros((2, 3, 3), np.uint8))[1].tobytes()
            ),
            "3 x 2, but the calibration is of 124 x 37",
        ),
        (lambda d: (d / "oxts" / "data" / "0000000002.txt").write_text("1 2 3"), "30 numbers expected, got 3"),
        (
            lambda d: (d / "oxts" / "timestamps.txt").write_text("2011-09-26 13:00:00\n"),
            r"oxts/timestamps\.txt: no time stamp for 0000000003\.txt",
        ),
        (lambda d: (d.parent / "calib_imu_to_velo.txt").unlink(), r"calib_imu_to_velo\.txt: cannot be read"),
    ],
)  # fmt: skip
def test_damage_is_named_and_leaves_nothing(tmp_path: Path, damage, message: str) -> None:
    drive = write_drive(tmp_path / "data", oxts=True)
    damage(drive)
    with pytest.raises(BagError, match=message):
        kitti_raw.convert(drive, tmp_path / "bag")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_missing_drive(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such folder"):
        kitti_raw.convert(tmp_path / "drive", tmp_path / "bag")
