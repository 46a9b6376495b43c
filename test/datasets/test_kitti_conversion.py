"""KITTI raw -> bag: the real clip against KITTI's own projection formula, and made-up drives."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_support import convert_kitti
from kitti_factory import write_drive

from sam_adapt_ros.bags import BagReader, MessageReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets.kitti_files import LIDAR_HEIGHT, Timestamps
from sam_adapt_ros.datasets.kitti_oxts import imu_poses
from sam_adapt_ros.datasets.kitti_raw import read_cameras
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.messages import read_points, stamp_ns
from sam_adapt_ros.notices import Notices

KITTI = Config.load("kitti")


def numbers(path: Path, name: str) -> np.ndarray:
    (line,) = [line for line in path.read_text().splitlines() if line.startswith(f"{name}:")]
    return np.array(line.split(":", 1)[1].split(), float)


@pytest.fixture(scope="module")
def clip(real_data, tmp_path_factory):
    drive = real_data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_9001_sync"
    return drive, convert_kitti(drive, tmp_path_factory.mktemp("kitti") / "bag")


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


def test_poses_of_oxts_undo_the_motion(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True)
    bag = convert_kitti(drive, tmp_path / "bag", storage="sqlite3", bag_version=8)
    with BagReader(bag, KITTI) as reader:
        frames = list(reader.frames())
        assert not reader.counts.cameras and len(frames) == 4
    still = read_cameras(drive)["CAM_FRONT"]
    T_camera_base = np.linalg.inv(still.T_base_camera)
    for frame in frames:
        (view,) = frame.views
        T_base_lidar = np.eye(4)
        T_base_lidar[:3, 3] = -0.1, 0, LIDAR_HEIGHT  # 10 m/s for 10 ms: the car has moved on
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
    with BagReader(convert_kitti(drive, tmp_path / "bag"), KITTI) as reader:
        stamps = [frame.stamp_ns for frame in reader.frames()]
    assert np.diff(stamps).tolist() == [200_000_000, 100_000_000]


@pytest.mark.parametrize("folder", ["", "velodyne_points"])
def test_a_drive_is_named_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    drive = write_drive(tmp_path / "kitti")
    monkeypatch.chdir(drive / folder)
    bag = convert_kitti(".." if folder else ".", tmp_path / "bag")
    with BagReader(bag, KITTI) as inside, BagReader(convert_kitti(drive, tmp_path / "other"), KITTI) as outside:
        assert [frame.stamp_ns for frame in inside.frames()] == [frame.stamp_ns for frame in outside.frames()]


def test_blank_lines_stand_for_missing_scans(tmp_path: Path) -> None:
    """As in the time stamps of drive 0009: without them, every later scan would have the stamp of one before it."""
    drive = write_drive(tmp_path, missing_scan=1)
    path = drive / "velodyne_points" / "timestamps.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "", *lines[2:], ""]))
    with BagReader(convert_kitti(drive, tmp_path / "bag"), KITTI) as reader:
        frames = list(reader.frames())
    scans = [np.fromfile(drive / "velodyne_points" / "data" / f"{i:010d}.bin", np.float32) for i in (0, 2, 3)]
    assert all(np.array_equal(f.points, s.reshape(-1, 4)[:, :3]) for f, s in zip(frames, scans, strict=True))
    start = 1317042000 * 10**9 + 1
    assert [frame.stamp_ns for frame in frames] == [start, start + 200_000_000, start + 300_000_000]
    path.write_text("\n".join(["", *lines[1:]]))
    with pytest.raises(BagError, match=r"no time stamp for 0000000000\.bin \(line 1 is blank\)"):
        convert_kitti(drive, tmp_path / "other")


def test_time_stamps(tmp_path: Path) -> None:
    path, file = tmp_path / "t.txt", Path("x.bin")
    path.write_bytes(b"\xef\xbb\xbf2011-09-26 13:02:25.967790592\r\n \r\n2011-09-26 13:02:26\r\n\r\n")
    stamps = Timestamps(path)
    assert [stamps.of(number, file) for number in (0, 2)] == [1317042145_967790592, 1317042146_000000000]
    for number in (1, 3, 4):
        with pytest.raises(BagError, match=r"t\.txt: no time stamp for x\.bin"):
            stamps.of(number, file)
    for text in ("yesterday", "NaT", "1066-10-14 09:00:00", "9999-01-01 00:00:00", "2011-09-26 13:02:99"):
        path.write_text(f"2011-09-26 13:02:26\n{text}\n")
        with pytest.raises(BagError, match=rf"t\.txt:2: a time stamp expected, got '{text}'"):
            Timestamps(path)


def convert(drive: Path, bag: Path) -> tuple[list, dict[str, str]]:
    """The frames of the bag, and the notices."""
    notices = Notices()
    with BagReader(convert_kitti(drive, bag, notices=notices), KITTI) as reader:
        return list(reader.frames()), notices.as_dict()


def test_files_that_are_there_twice_are_taken_once(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True)
    for folder in ("velodyne_points", "image_02", "oxts"):
        for path in list((drive / folder / "data").iterdir()):
            path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
        (drive / folder / "data" / ".DS_Store").write_bytes(b"x")
    images = drive / "image_02" / "data"
    for path in list(images.glob("0*.png")):
        path.with_suffix(".jpg").write_bytes(cv2.imencode(".jpg", np.full((37, 124, 3), 255, np.uint8))[1].tobytes())
    frames, notices = convert(drive, tmp_path / "bag")
    assert len(frames) == 4 and all(not frame.views[0].image.any() for frame in frames)  # the black PNG
    with MessageReader(tmp_path / "bag") as source:
        assert source.topics["/CAM_FRONT/image_rect_compressed"].count == 4
        assert source.topics["/LIDAR_TOP"].count == 4
    assert list(notices) == ["unused_files:image_02"]
    assert "4 files are not used, such as 0000000000.jpg" in notices["unused_files:image_02"]


def test_jpegs_alone_are_taken(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True)
    for path in (drive / "image_02" / "data").glob("*.png"):
        path.write_bytes(cv2.imencode(".jpg", np.zeros((37, 124, 3), np.uint8))[1].tobytes())
        path.rename(path.with_suffix(".JPG"))
    frames, notices = convert(drive, tmp_path / "bag")
    assert [len(frame.views) for frame in frames] == [1, 1, 1, 1] and not notices


def test_scans_of_other_names(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "data", oxts=True)
    scans = drive / "velodyne_points" / "data"
    (scans / "0000000003.bin").rename(scans / "scan3.bin")
    frames, notices = convert(drive, tmp_path / "bag")
    assert len(frames) == 3 and "1 files are not used, such as scan3.bin" in notices["unused_files:velodyne_points"]
    for path in list(scans.glob("0*")):
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(
        BagError, match=r"velodyne_points/data: no files: .*\.bin.* it has 4 others, such as 0000000000\.txt"
    ):
        convert_kitti(drive, tmp_path / "other")


def test_a_drive_within_itself(tmp_path: Path, monkeypatch) -> None:
    drive = write_drive(tmp_path, oxts=True)
    monkeypatch.chdir(drive)
    assert convert_kitti(".", tmp_path / "bag") == tmp_path / "bag"


def rewrite_scans(drive: Path, change) -> list[np.ndarray]:
    """Each scan's rows of four numbers become what ``change`` makes of them."""
    written = []
    for path in sorted((drive / "velodyne_points" / "data").glob("*.bin")):
        rows = change(np.fromfile(path, np.float32).reshape(-1, 4)).astype(np.float32)
        path.write_bytes(rows.tobytes())
        written.append(rows)
    return written


def scan(rows: np.ndarray) -> np.ndarray:
    """As many points as rows, in the order in which a LiDAR turns."""
    angle = np.linspace(0, 20 * np.pi, len(rows))
    far = 20 + 5 * np.sin(angle * 7)
    return np.column_stack([far * np.cos(angle), far * np.sin(angle), angle / 40 - 1.7, np.cos(angle) ** 2])


def with_ring(rows: np.ndarray) -> np.ndarray:
    return np.column_stack([rows, np.arange(len(rows)) % 64])


def with_time(rows: np.ndarray) -> np.ndarray:
    return np.column_stack([rows, np.linspace(0, 0.1, len(rows))])


@pytest.mark.parametrize(("change", "fifth"), [(with_ring, "ring"), (with_time, "extra")])
@pytest.mark.parametrize("points", [40, 400])  # sizes that are rows of four numbers, too
def test_rows_of_five_numbers_are_recognized(tmp_path: Path, change, fifth: str, points: int) -> None:
    drive = write_drive(tmp_path, points=points)
    rows = rewrite_scans(drive, lambda rows: change(scan(rows)))
    frames, notices = convert(drive, tmp_path / "bag")
    for frame, written in zip(frames, rows, strict=True):
        assert np.array_equal(frame.points, written[:, :3])
    with MessageReader(tmp_path / "bag") as source:
        cloud = read_points(next(source.messages(["/LIDAR_TOP"])).decode())
    assert cloud.fields == ("x", "y", "z", "intensity", fifth)
    assert np.allclose(cloud.field(fifth), rows[0][:, 4])
    assert f"taken as rows of 5 (x y z intensity {fifth})" in notices["point_fields:data"]


def test_the_files_sizes_decide_where_the_content_does_not(tmp_path: Path) -> None:
    """Points in no order, whose fields are all alike."""
    drive = write_drive(tmp_path, points=201)
    rows = rewrite_scans(drive, lambda rows: np.column_stack([rows, rows[::-1, 0]]))
    frames, notices = convert(drive, tmp_path / "bag")
    assert np.array_equal(frames[0].points, rows[0][:, :3]) and "rows of 5" in notices["point_fields:data"]


def test_real_scans_with_other_rows(real_data, tmp_path: Path) -> None:
    source = real_data / "kitti_raw" / "2011_09_26"
    shutil.copytree(
        source,
        tmp_path / "day",
        ignore=lambda folder, names: [n for n in names if n[:10].isdecimal() and int(n[:10]) > 0],
    )
    (drive,) = (tmp_path / "day").glob("*_sync")
    (scan,) = (drive / "velodyne_points" / "data").iterdir()
    points = np.fromfile(scan, np.float32).reshape(-1, 4)[:100_000]
    for name, rows, width in (
        ("as it is", points, 4),
        ("shuffled", np.random.default_rng(0).permutation(points), 4),
        ("without intensity", points * (1, 1, 1, 0), 4),
        ("ring", with_ring(points), 5),
        ("time", with_time(points), 5),
        ("zero", np.column_stack([points, np.zeros(len(points))]), 5),
    ):
        scan.write_bytes(rows.astype(np.float32).tobytes())
        frames, notices = convert(drive, tmp_path / name)
        assert np.array_equal(frames[0].points, rows[:, :3].astype(np.float32)), name
        assert ("point_fields:data" in notices) == (width == 5), name
    for rows in (
        points[:, :3],
        np.column_stack([points, points[:, :2]]),
        np.column_stack([with_time(points), points[:, :3]]),
    ):
        scan.write_bytes(rows.astype(np.float32).tobytes())
        with pytest.raises(
            BagError, match=rf"rows of 4 float32 expected, but its numbers repeat in rows of {rows.shape[1]}"
        ):
            convert_kitti(drive, tmp_path / "never")


def test_gaps_between_packets_are_said(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True, frames=10)
    for number in (4, 5):
        (drive / "oxts" / "data" / f"{number:010d}.txt").unlink()
    frames, notices = convert(drive, tmp_path / "bag")
    assert len(frames) == 10
    assert list(notices) == ["oxts_gaps"]
    assert "1 gaps between packets, the longest of 0.30 s, 0.30 s after the first packet" in notices["oxts_gaps"]


def test_files_beyond_the_packets_are_said(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True, frames=10)
    for number in range(5, 10):
        (drive / "oxts" / "data" / f"{number:010d}.txt").unlink()
    _, notices = convert(drive, tmp_path / "bag")
    assert "9 of 20 files lie outside its packets" in notices["no_poses"]  # the last within 0.1 s are extrapolated
    shutil.rmtree(drive / "oxts")
    _, notices = convert(drive, tmp_path / "other")
    assert "no oxts" in notices["no_poses"]


def test_an_image_that_is_cut_short_is_said(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True)
    path = drive / "image_02" / "data" / "0000000002.png"
    path.write_bytes(path.read_bytes()[:-20])
    frames, notices = convert(drive, tmp_path / "bag")
    assert [len(frame.views) for frame in frames] == [1, 1, 0, 1]
    assert "0000000002.png: PNG without its end" in notices["cut_images"]


def test_byte_order_marks_are_no_damage(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, oxts=True)
    before, _ = convert(drive, tmp_path / "before")
    for path in drive.parent.rglob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    after, notices = convert(drive, tmp_path / "after")
    assert [f.stamp_ns for f in after] == [f.stamp_ns for f in before] and not notices
    assert np.array_equal(after[2].views[0].T_camera_lidar, before[2].views[0].T_camera_lidar)


def replaced(name: str, old: str, new: str):
    def damage(drive: Path) -> None:
        text = (drive / name).read_text()
        assert old in text
        (drive / name).write_text(text.replace(old, new, 1))

    return damage


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
            r"oxts/timestamps\.txt: no time stamp for 0000000001\.txt",
        ),
        (lambda d: (d.parent / "calib_imu_to_velo.txt").unlink(), r"calib_imu_to_velo\.txt: cannot be read"),
        (replaced("oxts/data/0000000002.txt", "49.0", "nan"), r"0000000002\.txt: field lat: a number .* got 'nan'"),
        (replaced("oxts/data/0000000002.txt", "112.0", "null"), r"0000000002\.txt: field alt: a number .* got 'null'"),
        (replaced("../calib_velo_to_cam.txt", "-0.27", "nan"), r"calib_velo_to_cam\.txt: field T: finite numbers"),
        (replaced("../calib_velo_to_cam.txt", "-0.27", "null"), r"calib_velo_to_cam\.txt: field T is missing"),
        (replaced("../calib_velo_to_cam.txt", "R: 0", "R: 5"), r"calib_velo_to_cam\.txt: field R: a rotation expected"),
        (replaced("../calib_cam_to_cam.txt", "P_rect_02: 7.2e+01", "P_rect_02: 0"), "P_rect_02.*positive focal"),
        (replaced("../calib_cam_to_cam.txt", "P_rect_02: 7.2e+01", "P_rect_02: 1e-320"), r"P_rect_02: K \[I \| t\]"),
        (replaced("../calib_cam_to_cam.txt", "1.240000e+02", "inf"), r"calib_cam_to_cam\.txt: field S_rect_02: finite"),
        (
            lambda d: (d / "velodyne_points" / "data" / "0000000001.bin").write_text(
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1234567\n"
            ),
            r"0000000001\.bin: is a Git LFS pointer",
        ),
    ],
)  # fmt: skip
def test_damage_is_named_and_leaves_nothing(tmp_path: Path, damage, message: str) -> None:
    drive = write_drive(tmp_path / "data", oxts=True)
    damage(drive)
    with pytest.raises(BagError, match=message):
        convert_kitti(drive, tmp_path / "bag")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_missing_drive(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such folder"):
        convert_kitti(tmp_path / "drive", tmp_path / "bag")
