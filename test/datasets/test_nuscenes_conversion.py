"""nuScenes -> bag: the real keyframe against the tables, and a small made-up data set for all that can go wrong."""

from __future__ import annotations

import io
import json
import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_factory import START, expected_T_camera_lidar, write_nuscenes
from dataset_support import convert_nuscenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import files, nuscenes_categories, nuscenes_tables
from sam_adapt_ros.errors import BagError, OutputError
from sam_adapt_ros.messages import Calibration, read_labels, read_points, stamp_ns
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.parallel import choose_engine
from sam_adapt_ros.taxonomy import Taxonomy

NUSCENES = Config.load("nuscenes", {"taxonomy": "nuscenes6"})
CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")


def matrix(row: dict) -> np.ndarray:
    """A table row's pose, by the textbook formula of a unit quaternion w x y z."""
    w, x, y, z = np.array(row["rotation"]) / np.linalg.norm(row["rotation"])
    T = np.eye(4)
    T[:3, :3] = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    T[:3, 3] = row["translation"]
    return T


class Tables:
    def __init__(self, root: Path) -> None:
        self.root = root
        rows = {
            name: {row["token"]: row for row in json.loads((root / "v1.0-mini" / f"{name}.json").read_text())}
            for name in ("sample_data", "ego_pose", "calibrated_sensor", "sensor")
        }
        self.data = {}
        for row in rows["sample_data"].values():
            calibrated = rows["calibrated_sensor"][row["calibrated_sensor_token"]]
            channel = rows["sensor"][calibrated["sensor_token"]]["channel"]
            self.data[channel] = (row, calibrated, matrix(calibrated), matrix(rows["ego_pose"][row["ego_pose_token"]]))

    def T_camera_lidar(self, camera: str) -> np.ndarray:
        """lidar -> ego(t_lidar) -> global -> ego(t_cam) -> cam"""
        _, _, T_ego_lidar, T_global_ego = self.data["LIDAR_TOP"]
        _, _, T_ego_cam, T_global_ego_cam = self.data[camera]
        return np.linalg.inv(T_ego_cam) @ np.linalg.inv(T_global_ego_cam) @ T_global_ego @ T_ego_lidar

    def content(self, channel: str) -> bytes:
        return (self.root / self.data[channel][0]["filename"]).read_bytes()


@pytest.fixture(scope="module")
def keyframe(real_data, tmp_path_factory):
    root = real_data / "nuscenes_keyframe"
    (bag,) = convert_nuscenes(root, tmp_path_factory.mktemp("nuscenes") / "bag")
    return Tables(root), bag


def test_keyframe_gives_one_exact_frame(keyframe) -> None:
    tables, bag = keyframe
    with BagReader(bag, NUSCENES) as reader:
        (frame,) = reader.frames()
        assert not reader.counts.dropped and not reader.counts.cameras and not reader.counts.messages
    points = np.frombuffer(tables.content("LIDAR_TOP"), np.float32).reshape(-1, 5)
    assert frame.points.shape == (34688, 3) and np.array_equal(frame.points, points[:, :3])
    assert frame.stamp_ns == tables.data["LIDAR_TOP"][0]["timestamp"] * 1000
    assert tuple(view.name for view in frame.views) == CAMERAS
    for view in frame.views:
        row, calibrated, *_ = tables.data[view.name]
        assert view.stamp_ns == row["timestamp"] * 1000
        assert np.abs(view.T_camera_lidar - tables.T_camera_lidar(view.name)).max() < 1e-6
        assert np.abs(view.camera.K - calibrated["camera_intrinsic"]).max() < 1e-9
        assert view.image.shape == (900, 1600, 3) and (view.camera.width, view.camera.height) == (1600, 900)


def test_ego_motion_of_43_ms_is_honoured(keyframe) -> None:
    tables, bag = keyframe
    with BagReader(bag, NUSCENES) as reader:
        (frame,) = reader.frames()
    lag = {view.name: (frame.stamp_ns - view.stamp_ns) / 1e6 for view in frame.views}
    assert max(lag.values()) == pytest.approx(43.1, abs=0.1)
    front = frame.views[0]
    still = np.linalg.inv(tables.data["CAM_FRONT"][2]) @ tables.data["LIDAR_TOP"][2]  # as if the car stood
    moved = np.linalg.norm((front.T_camera_lidar - still)[:3, 3])
    assert moved == pytest.approx(0.33, abs=0.02)


def test_keyframe_labels_are_the_raw_ids(keyframe) -> None:
    tables, bag = keyframe
    (file,) = (tables.root / "lidarseg" / "v1.0-mini").glob("*.bin")
    raw = np.frombuffer(file.read_bytes(), np.uint8)
    with MessageReader(bag) as source:
        (message,) = source.messages(["/ground_truth/labels"])
        labels = message.decode()
    points, class_id, probability = read_labels(labels)
    assert np.array_equal(class_id, raw) and (probability == 1).all() and (raw > 0).sum() == 984
    assert labels.header.frame_id == "LIDAR_TOP" and len(points) == 34688
    with BagReader(bag, NUSCENES) as reader:
        (frame,) = reader.frames()
    assert np.array_equal(frame.ground_truth, Taxonomy.load("nuscenes6").lookup("nuscenes_lidarseg")[raw])


def test_image_bytes_are_untouched_and_all_cloud_fields_kept(keyframe) -> None:
    tables, bag = keyframe
    with MessageReader(bag) as source:
        messages = {message.topic: message.decode() for message in source.messages()}
    for name in CAMERAS:
        image, info = messages[f"/{name}/image_rect_compressed"], messages[f"/{name}/camera_info"]
        assert bytes(image.data) == tables.content(name) and image.format == "jpeg"
        assert image.header.frame_id == info.header.frame_id == name
        assert stamp_ns(image.header) == stamp_ns(info.header) == tables.data[name][0]["timestamp"] * 1000
        assert info.distortion_model == "plumb_bob" and not info.d.any()
        assert np.array_equal(info.r, np.eye(3).reshape(9))
        assert (
            np.array_equal(info.p.reshape(3, 4)[:, :3], info.k.reshape(3, 3)) and not info.p.reshape(3, 4)[:, 3].any()
        )
    cloud = read_points(messages["/LIDAR_TOP"])
    points = np.frombuffer(tables.content("LIDAR_TOP"), np.float32).reshape(-1, 5)
    assert cloud.fields == ("x", "y", "z", "intensity", "ring")
    assert np.array_equal(cloud.field("intensity"), points[:, 3])
    assert cloud.field("ring").dtype == np.uint16 and np.array_equal(cloud.field("ring"), points[:, 4])


def test_poses_at_every_sensor_stamp(keyframe) -> None:
    tables, bag = keyframe
    stamps = sorted({row["timestamp"] * 1000 for name, (row, *_) in tables.data.items() if "RADAR" not in name})
    with MessageReader(bag) as source:
        tf = [message.decode() for message in source.messages(["/tf"])]
        odometry = [message.decode() for message in source.messages(["/odom"])]
        assert source.topics["/tf_static"].transient_local
    assert [stamp_ns(msg.transforms[0].header) for msg in tf] == [stamp_ns(msg.header) for msg in odometry] == stamps
    assert {(m.header.frame_id, m.child_frame_id) for m in odometry} == {("odom", "base_link")}
    assert all(abs(m.pose.pose.position.x) < 10 for m in odometry)  # near the origin: RViz computes in float32


def test_calibration_file_alone_gives_the_same_geometry(keyframe, tmp_path: Path) -> None:
    """Where there is no TF: the calibration file and /odom."""
    tables, bag = keyframe
    with MessageReader(bag) as source, BagWriter(tmp_path / "bag") as writer:
        for message in source.messages():
            if "/tf" not in message.topic and "camera_info" not in message.topic:
                writer.write(message.topic, message.data, message.log_time_ns, msgtype=message.msgtype)
        shutil.copy(bag / "calibration.yaml", writer.folder)
    with BagReader(tmp_path / "bag", NUSCENES) as reader:
        (frame,) = reader.frames()
    assert len(frame.views) == 6
    for view in frame.views:
        assert np.abs(view.T_camera_lidar - tables.T_camera_lidar(view.name)).max() < 1e-6
    assert set(Calibration.load(bag / "calibration.yaml").cameras) == set(CAMERAS)


# A made-up data set ---------------------------------------------------------------------------------------------------

PAIR = NUSCENES
PAIR = PAIR.model_copy(update={"cameras": {n: c for n, c in PAIR.cameras.items() if n in ("CAM_FRONT", "CAM_BACK")}})


def test_one_scene_is_the_bag_several_are_a_folder_of_bags(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data")
    assert convert_nuscenes(tmp_path / "data", tmp_path / "one", ["scene-0001"]) == [tmp_path / "one"]
    bags = convert_nuscenes(tmp_path / "data", tmp_path / "all", ["scene-*"])
    assert bags == [tmp_path / "all" / "scene-0000", tmp_path / "all" / "scene-0001"]
    for bag in (tmp_path / "one", *bags):
        with BagReader(bag, PAIR) as reader:
            frames = list(reader.frames())
        assert len(frames) == 3 and all(len(frame.views) == 2 for frame in frames)
        assert all(frame.ground_truth is not None for frame in frames)


def test_several_processes_write_what_one_does_and_bags_that_are_there_stay(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data")
    alone = convert_nuscenes(tmp_path / "data", tmp_path / "alone")
    shared = convert_nuscenes(tmp_path / "data", tmp_path / "shared", engine=choose_engine(2))
    for first, second in zip(alone, shared, strict=True):
        assert (first / f"{first.name}.mcap").read_bytes() == (second / f"{second.name}.mcap").read_bytes()
    shutil.rmtree(shared[1])
    before = (shared[0] / "metadata.yaml").stat().st_mtime_ns
    assert convert_nuscenes(tmp_path / "data", tmp_path / "shared") == shared
    assert (shared[0] / "metadata.yaml").stat().st_mtime_ns == before and shared[1].is_dir()
    with pytest.raises(OutputError, match="results of other settings"):
        convert_nuscenes(tmp_path / "data", tmp_path / "shared", storage="sqlite3")


def test_sweeps_lie_between_keyframes(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data", scenes=1, samples=3, between=2)
    progress: list[tuple[int, int]] = []
    (bag,) = convert_nuscenes(
        tmp_path / "data", tmp_path / "bag", sweeps=True, storage="sqlite3", bag_version=8,
        progress=lambda done, size: progress.append((done, size)),
    )  # fmt: skip
    with BagReader(bag, PAIR) as reader:
        frames = list(reader.frames())
        assert not reader.counts.cameras
    assert [frame.stamp_ns for frame in frames] == [START + i * 100_000_000 for i in range(9)]
    assert [frame.ground_truth is not None for frame in frames] == [True, False, False] * 3
    for frame in frames:
        for view in frame.views:
            expected = expected_T_camera_lidar(view.name, view.stamp_ns, frame.stamp_ns)
            assert np.abs(view.T_camera_lidar - expected).max() < 1e-6
    assert progress == sorted(progress) and progress[-1][0] == progress[-1][1] > 0


def test_data_set_without_labels(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data", scenes=1, labels=False)
    (bag,) = convert_nuscenes(tmp_path / "data", tmp_path / "bag")
    with BagReader(bag, PAIR) as reader:
        assert "/ground_truth/labels" not in reader.topics
        assert all(frame.ground_truth is None for frame in reader.frames())


def convert_damaged(tmp_path: Path, damage, message: str, **options: object) -> None:
    write_nuscenes(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(BagError, match=message):
        convert_nuscenes(tmp_path / "data", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def edit(name: str, change):
    def damage(root: Path) -> None:
        path = root / "v1.0-mini" / f"{name}.json"
        rows = json.loads(path.read_text())
        change(rows)
        path.write_text(json.dumps(rows))

    return damage


@pytest.mark.parametrize("table", ["scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor"])
def test_missing_table_is_named(tmp_path: Path, table: str) -> None:
    message = "no folder with nuScenes' tables" if table == "scene" else rf"{table}\.json: table is missing"
    convert_damaged(tmp_path, lambda root: (root / "v1.0-mini" / f"{table}.json").unlink(), message)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("ego_pose", lambda rows: rows.clear(), r"ego_pose\.json: row p-.* is missing"),
        (
            "ego_pose",
            lambda rows: rows[0].update(rotation=[0, 0, 0, 0]),
            r"ego_pose\.json: row 'p-.*': rotation: a quaternion .* got \[0, 0, 0, 0\]",
        ),
        ("ego_pose", lambda rows: rows[0].pop("rotation"), r"ego_pose\.json: a row has no field 'rotation'"),
        ("sample_data", lambda rows: rows[0].pop("timestamp"), r"sample_data\.json: a row has no field 'timestamp'"),
        ("calibrated_sensor", lambda rows: rows[1].update(camera_intrinsic=[]), "CAM_FRONT': camera_intrinsic"),
        (
            "sample_data",
            lambda rows: rows.__setitem__(slice(None), [r for r in rows if "LIDAR" not in r["token"]]),
            "scene-0000 has no LIDAR_TOP rows",
        ),
    ],
)
def test_damaged_table_is_named(tmp_path: Path, table: str, change, message: str) -> None:
    convert_damaged(tmp_path, edit(table, change), message)


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '[{"token": "a"', '[{"token": ]'])
def test_table_that_is_no_list_of_objects(tmp_path: Path, text: str) -> None:
    def damage(root: Path) -> None:
        (root / "v1.0-mini" / "sample.json").write_text(text)

    convert_damaged(tmp_path, damage, r"sample\.json: (not JSON|a list|is an empty file)")


def test_missing_files_are_named_before_anything_is_written(tmp_path: Path) -> None:
    def damage(root: Path) -> None:
        for file in sorted((root / "samples" / "CAM_BACK").iterdir())[:2]:
            file.unlink()
        for file in sorted((root / "samples" / "CAM_FRONT").iterdir()):
            file.unlink()

    convert_damaged(tmp_path, damage, r"missing files: .*CAM_BACK-.*\.jpg.* and 2 more")


def test_scenes_that_are_whole_are_converted_and_the_others_named(tmp_path: Path) -> None:
    """One blob of the data set's ten: the tables are those of all scenes."""
    root = tmp_path / "data"
    write_nuscenes(root, scenes=3)
    for row in json.loads((root / "v1.0-mini" / "sample_data.json").read_text()):
        if row["sample_token"].startswith("scene1-"):
            (root / row["filename"]).unlink()
    notices = Notices()
    bags = convert_nuscenes(root, tmp_path / "out", notices=notices)
    assert bags == [tmp_path / "out" / "scene-0000", tmp_path / "out" / "scene-0002"]
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["scene-0000", "scene-0002"]
    text = notices.as_dict()["scenes"]
    assert text.startswith("1 of 3 scenes are left out: scene-0001 (scene-0001: missing files: ") and "more" in text
    assert convert_nuscenes(root, tmp_path / "two", ["scene-000[12]"]) == [tmp_path / "two" / "scene-0002"]
    for scenes in (["scene-0001"], ["scene-0000", "scene-0001"], ["*1"]):
        with pytest.raises(BagError, match="missing files: "):
            convert_nuscenes(root, tmp_path / "never", scenes)
    shutil.rmtree(root / "sweeps")
    with pytest.raises(BagError, match=r"missing files: .*; without --sweeps the keyframes alone are converted"):
        convert_nuscenes(root, tmp_path / "never", sweeps=True)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("scene", "name", None),
        ("scene", "name", "../scene"),
        ("scene", "token", ["a"]),
        ("sample", "scene_token", None),
        ("sensor", "modality", None),
        ("calibrated_sensor", "translation", [1.0, None, 2.0]),
        ("calibrated_sensor", "translation", None),
        ("calibrated_sensor", "rotation", [[1.0, 0.0], [0.0]]),
        ("calibrated_sensor", "rotation", [1.0, 0.0, 0.0]),
        ("calibrated_sensor", "camera_intrinsic", [[1.0, 2.0], [3.0]]),
        ("calibrated_sensor", "camera_intrinsic", [["a"] * 3] * 3),
        ("calibrated_sensor", "camera_intrinsic", None),
        ("calibrated_sensor", "sensor_token", 7),
        ("ego_pose", "translation", [1.0, float("nan"), 2.0]),
        ("ego_pose", "rotation", "1 0 0 0"),
        ("ego_pose", "token", None),
        ("sample_data", "timestamp", None),
        ("sample_data", "timestamp", "1533151603547590"),
        ("sample_data", "timestamp", -5),
        ("sample_data", "timestamp", 1e300),
        ("sample_data", "filename", None),
        ("sample_data", "filename", "samples/a\0b"),
        ("sample_data", "filename", "\ud800"),
        ("sample_data", "is_key_frame", None),
        ("sample_data", "width", None),
        ("sample_data", "height", 48.5),
        ("lidarseg", "filename", {}),
        ("category", "index", 300),
        ("category", "name", None),
    ],
)
def test_ragged_null_and_foreign_values_are_named(tmp_path: Path, table: str, field: str, value: object) -> None:
    def change(rows: list[dict]) -> None:
        row = rows[1] if table in ("calibrated_sensor", "sample_data") else rows[0]  # the first are LiDARs
        assert field in row
        row[field] = value

    convert_damaged(tmp_path, edit(table, change), rf"/{table}\.json: row .*: {field}: .* expected, got ")


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path) -> None:
    convert_damaged(
        tmp_path, edit("lidarseg", lambda rows: [row.update(filename="é" * 300) for row in rows]), "missing f"
    )


def test_byte_order_marks_are_no_damage(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data", scenes=1)
    for path in (tmp_path / "data" / "v1.0-mini").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert convert_nuscenes(tmp_path / "data", tmp_path / "bag") == [tmp_path / "bag"]


def test_placeholders_are_named(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1234567\n"
    for name in ("v1.0-mini/sample.json", "samples/LIDAR_TOP", "samples/CAM_FRONT", "lidarseg/v1.0-mini"):
        shutil.rmtree(tmp_path, ignore_errors=True)
        write_nuscenes(tmp_path / "data", scenes=1)
        path = tmp_path / "data" / name
        path = path if path.is_file() else sorted(path.iterdir())[1]
        path.write_text(pointer)
        with pytest.raises(BagError, match=rf"{path.name}: is a Git LFS pointer"):
            convert_nuscenes(tmp_path / "data", tmp_path / "out")
    path.write_text("<html><body>Please sign in</body></html>")
    with pytest.raises(BagError, match=rf"{path.name}: is a web page"):
        convert_nuscenes(tmp_path / "data", tmp_path / "out")


def raw_labels(bag: Path) -> np.ndarray:
    with MessageReader(bag) as source:
        return read_labels(next(source.messages(["/ground_truth/labels"])).decode())[1]


OFFICIAL = nuscenes_categories.NUSCENES_LIDARSEG


@pytest.mark.parametrize("indices", ["official", "none", "reversed", "fewer", "own"])
def test_labels_mean_what_the_category_table_says(tmp_path: Path, indices: str) -> None:
    """The label files hold 0 to 31."""
    write_nuscenes(tmp_path / "data", scenes=1, points=32)
    names = {
        "official": OFFICIAL,
        "none": OFFICIAL,
        "reversed": OFFICIAL[::-1],
        "fewer": ("noise", "vehicle.car", "vehicle.spaceship", "flat.sidewalk"),
        "own": ("void", "tarmac", "hangar"),
    }[indices]
    rows = [{"token": name, "name": name, "index": index} for index, name in enumerate(names)]
    if indices == "none":
        rows = [{"token": name, "name": name} for name in names]
    (tmp_path / "data" / "v1.0-mini" / "category.json").write_text(json.dumps(rows))
    notices = Notices()
    (bag,) = convert_nuscenes(tmp_path / "data", tmp_path / "bag", notices=notices)
    expected = {
        "official": np.arange(32),
        "none": np.arange(32),
        "reversed": np.arange(32)[::-1],
        "fewer": np.array([0, 17, 0, 26] + [0] * 28),
        "own": np.arange(32),
    }[indices]
    assert np.array_equal(raw_labels(bag), expected)
    text = notices.as_dict().get("categories", "")
    assert ("2 vehicle.spaceship" in text) == (indices == "fewer")
    assert ("0 void, 1 tarmac, 2 hangar" in text and "ground_truth.mapping" in text) == (indices == "own")
    assert bool(text) == (indices in ("fewer", "own"))


def test_the_class_sets_know_the_categories_by_these_ids(keyframe) -> None:
    tables, _ = keyframe
    rows = json.loads((tables.root / "v1.0-mini" / "category.json").read_text())
    assert {row["index"]: row["name"] for row in rows} == dict(enumerate(OFFICIAL))


def test_an_index_of_two_categories_is_refused(tmp_path: Path) -> None:
    rows = [{"token": name, "name": name, "index": 3} for name in ("animal", "noise")]

    def damage(root: Path) -> None:
        (root / "v1.0-mini" / "category.json").write_text(json.dumps(rows))

    convert_damaged(tmp_path, damage, r"category\.json: index 3: one name expected, got 'animal' and 'noise'")


@pytest.mark.parametrize("kept", [4, 5])
def test_rows_of_other_widths(real_data, tmp_path: Path, kept: int) -> None:
    """KITTI's rows of four, and a fifth number that is a time."""
    root = tmp_path / "data"
    shutil.copytree(real_data / "nuscenes_keyframe", root)
    (path,) = (root / "samples" / "LIDAR_TOP").iterdir()
    rows = np.fromfile(path, np.float32).reshape(-1, 5)
    rows[:, 4] = np.linspace(0, 0.05, len(rows))
    path.write_bytes(np.ascontiguousarray(rows[:, :kept]).tobytes())
    notices = Notices()
    (bag,) = convert_nuscenes(root, tmp_path / "bag", notices=notices)
    with MessageReader(bag) as source:
        cloud = read_points(next(source.messages(["/LIDAR_TOP"])).decode())
    assert np.array_equal(cloud.points, rows[:, :3])
    assert cloud.fields == ("x", "y", "z", "intensity", "extra")[:kept]
    assert f"taken as rows of {kept}" in notices.as_dict()["point_fields:LIDAR_TOP"]
    path.write_bytes(np.ascontiguousarray(rows[:, :3]).tobytes())
    with pytest.raises(BagError, match="its numbers repeat in rows of 3"):
        convert_nuscenes(root, tmp_path / "other")


def test_a_lidar_of_another_name(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data", scenes=1)
    edit("sensor", lambda rows: rows[0].update(channel="LIDAR_ROOF"))(tmp_path / "data")
    (bag,) = convert_nuscenes(tmp_path / "data", tmp_path / "bag")
    with BagReader(bag, PAIR) as reader:
        assert len(list(reader.frames())) == 3
    edit("sensor", lambda rows: rows.append({**rows[0], "token": "x", "channel": "LIDAR_REAR"}))(tmp_path / "data")
    with pytest.raises(
        BagError, match=r"sensor\.json: a LiDAR expected, LIDAR_TOP where .* got LIDAR_ROOF, LIDAR_REAR"
    ):
        convert_nuscenes(tmp_path / "data", tmp_path / "other")


def test_rows_that_are_there_twice_are_one_file(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data", scenes=1)
    edit("sample_data", lambda rows: rows.extend(rows[:]))(tmp_path / "data")
    (bag,) = convert_nuscenes(tmp_path / "data", tmp_path / "bag")
    with MessageReader(bag) as source:
        assert source.topics["/LIDAR_TOP"].count == source.topics["/CAM_FRONT/camera_info"].count == 3


def test_no_scenes(tmp_path: Path) -> None:
    convert_damaged(tmp_path, edit("scene", lambda rows: rows.clear()), r"scene\.json: .*got 0 of 0 names")
    shutil.rmtree(tmp_path / "data")
    convert_damaged(
        tmp_path, edit("scene", lambda rows: rows[1].update(name="scene-0000")), r"scene\.json: .*2 of 1 names"
    )


@pytest.mark.parametrize(
    ("folder", "content", "message"),
    [
        ("samples/CAM_FRONT", b"", "is empty"),
        ("samples/CAM_FRONT", b"GIF89a", "the header of a JPEG or PNG file expected"),
        ("samples/CAM_FRONT", b"\xff\xd8\xff\xe0\x00\x10", "the header of a JPEG or PNG file expected"),
        ("samples/LIDAR_TOP", b"123", "rows of 5 float32 expected"),
        ("lidarseg/v1.0-mini", b"\0" * 3, "40 labels expected, got 3"),
    ],
)
def test_damaged_file_is_named_and_leaves_nothing(tmp_path: Path, folder: str, content: bytes, message: str) -> None:
    def damage(root: Path) -> None:
        sorted((root / folder).iterdir())[-1].write_bytes(content)

    convert_damaged(tmp_path, damage, message, scenes=["scene-0001"])


def test_unknown_scene_and_folder(tmp_path: Path) -> None:
    convert_damaged(tmp_path, lambda root: None, r"no 'scene-0007' \(has 2: scene-0000", scenes=["scene-0007"])
    with pytest.raises(BagError, match="no such folder"):
        convert_nuscenes(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(BagError, match=r"v1\.0-trainval: folder with nuScenes' tables is missing"):
        convert_nuscenes(tmp_path / "data", tmp_path / "out", dataset_version="v1.0-trainval")
    shutil.copytree(tmp_path / "data" / "v1.0-mini", tmp_path / "data" / "v1.0-trainval")
    with pytest.raises(BagError, match="several versions"):
        convert_nuscenes(tmp_path / "data", tmp_path / "out")


def test_two_calibrations_in_one_scene_are_refused(tmp_path: Path) -> None:
    def damage(root: Path) -> None:
        edit("calibrated_sensor", lambda rows: rows.append({**rows[1], "token": "other"}))(root)
        edit("sample_data", lambda rows: rows[1].update(calibrated_sensor_token="other"))(root)

    convert_damaged(tmp_path, damage, "two calibrations of CAM_FRONT", scenes=["scene-0000"])


def test_taken_output_is_refused_unless_forced(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data", scenes=1)
    convert_nuscenes(tmp_path / "data", tmp_path / "bag")
    with pytest.raises(BagError, match="--force"):
        convert_nuscenes(tmp_path / "data", tmp_path / "bag")
    convert_nuscenes(tmp_path / "data", tmp_path / "bag", force=True)


def test_interrupted_conversion_leaves_no_half_bag(tmp_path: Path) -> None:
    write_nuscenes(tmp_path / "data", scenes=1)

    def interrupt(done: int, size: int) -> None:
        if done > size / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_nuscenes(tmp_path / "data", tmp_path / "bag", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    convert_damaged(tmp_path, lambda root: None, "MB needed, 1 MB free")


rows_strategy = st.lists(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(st.none() | st.integers() | st.text(max_size=8) | st.booleans(), st.lists, max_leaves=4),
        max_size=4,
    ),
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(rows=rows_strategy, chunk=st.integers(1, 40), indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
def test_rows_are_those_of_the_json_module(tmp_path_factory, rows, chunk, indent, ascii_only) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    original, nuscenes_tables._CHUNK = nuscenes_tables._CHUNK, chunk
    try:
        assert list(nuscenes_tables.iterate_rows(path)) == rows
        path.write_text(path.read_text(encoding="utf-8")[:-1], encoding="utf-8")
        with pytest.raises(BagError, match="cut short"):
            list(nuscenes_tables.iterate_rows(path))
    finally:
        nuscenes_tables._CHUNK = original


def test_large_table_is_read_in_little_memory(tmp_path: Path, monkeypatch) -> None:
    row = json.dumps({"token": "x" * 32, "translation": [1.0, 2.0, 3.0], "rotation": [1.0, 0.0, 0.0, 0.0]})
    path = tmp_path / "ego_pose.json"
    with path.open("w") as file:
        file.write("[" + ",\n".join([row] * 30_000) + "]")
    monkeypatch.setattr(nuscenes_tables, "_CHUNK", 1 << 16)
    tracemalloc.start()
    assert sum(1 for _ in nuscenes_tables.iterate_rows(path)) == 30_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 3e6 and peak < 1e6


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (4000, 3)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_image_size_is_the_decoders(size: tuple[int, int], suffix: str) -> None:
    data = cv2.imencode(suffix, np.zeros((size[1], size[0], 3), np.uint8))[1].tobytes()
    assert files.image_size(data, "x") == (*size, {".jpg": "jpeg", ".png": "png"}[suffix])
    for length in range(min(len(data), 24)):
        with pytest.raises(BagError, match=r"x: "):
            files.image_size(data[:length], "x")


def test_progressive_jpeg_with_comment_and_fill_bytes() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (33, 17)).save(buffer, "JPEG", progressive=True, comment=b"\xff\xc0 not a marker")
    data = buffer.getvalue()
    assert files.image_size(data, "x") == (33, 17, "jpeg")
    assert files.image_size(data[:2] + b"\xff\xff\xff" + data[3:], "x") == (33, 17, "jpeg")
