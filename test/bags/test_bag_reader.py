"""Frames of a bag: geometry against plain matrix products, bags that others made, and damage."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from bag_factory import (
    HEIGHT,
    SECOND,
    START,
    T_BASE_CAMERA,
    T_BASE_LIDAR,
    WIDTH,
    Drive,
    K,
    config,
    expected_T_camera_lidar,
    jpeg,
    pose,
    transform,
)
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry import CameraModel
from sam_adapt_ros.messages import Calibration, CameraCalibration, encode_cloud
from sam_adapt_ros.taxonomy import Taxonomy


def write(path: Path, drive: Drive | None = None, storage="mcap", version=9, **parts: bool) -> Drive:
    drive = drive or Drive()
    with BagWriter(path, storage, version) as writer:
        drive.write(writer, **parts)
    return drive


def read(path: Path, **overrides: object):
    with BagReader(path, config(**overrides)) as reader:
        return list(reader.frames()), reader.counts


def check_geometry(frames, drive: Drive, tolerance: float = 1e-6) -> None:
    for frame in frames:
        assert [view.name for view in frame.views] == ["CAM_FRONT", "CAM_BACK"]
        for view in frame.views:
            assert view.stamp_ns == frame.stamp_ns - drive.camera_lag_ns[view.name]
            expected = expected_T_camera_lidar(view.name, view.stamp_ns, frame.stamp_ns)
            assert np.abs(view.T_camera_lidar - expected).max() < tolerance
            assert np.allclose(view.camera.K, K) and view.image.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("version", [8, 9])
def test_frames_are_exact(tmp_path: Path, storage, version) -> None:
    drive = write(tmp_path / "bag", storage=storage, version=version)
    frames, counts = read(tmp_path / "bag")
    table = Taxonomy.load("nuscenes6").lookup("nuscenes_lidarseg")
    assert [frame.stamp_ns for frame in frames] == [drive.sweep_ns(i) for i in range(drive.sweeps)]
    for index, frame in enumerate(frames):
        assert frame.frame_id == "LIDAR_TOP"
        assert np.array_equal(frame.points, drive.cloud(index))
        assert np.array_equal(frame.ground_truth, table[drive.class_id(index)])
        assert np.abs(frame.T_odom_lidar - pose(frame.stamp_ns) @ T_BASE_LIDAR).max() < 1e-9
    check_geometry(frames, drive)
    assert (counts.frames_in, counts.frames) == (5, 5)
    assert not counts.dropped and not counts.cameras and not counts.messages


@pytest.mark.parametrize("taxonomy", ["", "vkitti_semantickitti6"])
def test_labels_that_the_class_set_cannot_read_are_left_out(tmp_path: Path, taxonomy: str) -> None:
    write(tmp_path / "bag")
    frames, counts = read(tmp_path / "bag", taxonomy=taxonomy)
    assert len(frames) == 5 and all(frame.ground_truth is None for frame in frames) and not counts.cameras


def test_reading_twice_and_from_another_thread_gives_the_same(tmp_path: Path) -> None:
    write(tmp_path / "bag", storage="sqlite3")
    with BagReader(tmp_path / "bag", config()) as reader:
        first = [frame.stamp_ns for frame in reader.frames()]
        second: list[int] = []
        thread = threading.Thread(target=lambda: second.extend(frame.stamp_ns for frame in reader.frames()))
        thread.start()
        thread.join()
        assert first == second and reader.counts.frames_in == reader.sweeps == 5


def test_raw_messages_are_what_was_written(tmp_path: Path) -> None:
    drive = write(tmp_path / "bag")
    with BagReader(tmp_path / "bag", config()) as reader:
        raw = list(reader.messages(["/CAM_FRONT/image_rect_compressed"]))
        assert [bytes(message.decode().data) for message in raw] == [jpeg(i) for i in range(drive.sweeps)]
        stamps = [message.log_time_ns for message in reader.messages()]
    assert stamps == sorted(stamps) and len(stamps) == 1 + 5 * (2 * 3 + 2 * 2 + 2)


def test_odometry_serves_where_there_is_no_tf(tmp_path: Path) -> None:
    drive = write(tmp_path / "bag", tf=False, info=False)
    frames, counts = read(tmp_path / "bag")
    assert not any(frame.views for frame in frames)  # neither intrinsics nor extrinsics, yet every sweep is there
    assert len(frames) == 5 and counts.cameras == {"camera_info.CAM_FRONT": 5, "camera_info.CAM_BACK": 5}
    calibration(tmp_path / "bag")
    frames, counts = read(tmp_path / "bag")
    check_geometry(frames, drive)
    assert not counts.cameras


def calibration(folder: Path) -> None:
    cameras = {name: CameraCalibration(name, T, CameraModel(WIDTH, HEIGHT, K)) for name, T in T_BASE_CAMERA.items()}
    Calibration("LIDAR_TOP", "base_link", "odom", T_BASE_LIDAR, cameras).save(folder / "calibration.yaml")


def test_calibration_file_may_be_elsewhere(tmp_path: Path) -> None:
    drive = write(tmp_path / "bag", tf=False, info=False)
    (tmp_path / "elsewhere").mkdir()
    calibration(tmp_path / "elsewhere")
    frames, _ = read(tmp_path / "bag", transforms__calibration_file=str(tmp_path / "elsewhere" / "calibration.yaml"))
    check_geometry(frames, drive)


def test_without_motion_the_static_transform_is_used_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "bag", tf=False, odometry=False)
    calibration(tmp_path / "bag")
    frames, counts = read(tmp_path / "bag")
    assert counts.cameras == {"no_motion.CAM_FRONT": 5, "no_motion.CAM_BACK": 5}
    for view in frames[2].views:
        expected = np.linalg.inv(T_BASE_CAMERA[view.name]) @ T_BASE_LIDAR
        assert np.abs(view.T_camera_lidar - expected).max() < 1e-9
        assert (
            np.abs(view.T_camera_lidar - expected_T_camera_lidar(view.name, view.stamp_ns, frames[2].stamp_ns)).max()
            > 0.05
        )


# Bags that others made ------------------------------------------------------------------------------------------------


def write_foreign(path: Path, sweeps: int = 21) -> Drive:
    """As nuscenes_rosbag writes: TF from ``map``, the sensors' too, at 2 Hz and on /tf alone; CameraInfo behind the
    image, without a distortion model, with an R that is no rotation; keyframes recorded at the sweep's time."""
    drive = Drive(sweeps)
    with BagWriter(path) as writer:
        info_type = writer.types["sensor_msgs/msg/CameraInfo"]
        roi = writer.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        image_type = writer.types["sensor_msgs/msg/CompressedImage"]
        T_map_odom = transform((1000.0, -2000.0, 0.0), (0, 0, 1.0))
        for index in range(sweeps):
            stamp = drive.sweep_ns(index)
            keyframe = index % 5 == 0
            if keyframe:
                writer.write_tf(stamp, [("map", "base_link", T_map_odom @ pose(stamp))])
                writer.write_tf(stamp, [("base_link", "LIDAR_TOP", T_BASE_LIDAR)])
                for name, T in T_BASE_CAMERA.items():
                    writer.write_tf(stamp, [("base_link", name, T)])
            drive.write_sweep(writer, index)
            for name, lag in drive.camera_lag_ns.items():
                recorded = stamp if keyframe else stamp - lag
                header = writer.header(stamp - lag, name)
                data = np.frombuffer(jpeg(index), np.uint8)
                writer.write(f"/{name}/image_rect_compressed", image_type(header, "jpeg", data), recorded)
                R = np.zeros(9)
                R[0] = R[3] = R[6] = 1.0
                P = np.zeros((3, 4))
                P[:, :3] = K
                info = info_type(header, HEIGHT, WIDTH, "", np.zeros(0), K.reshape(9), R, P.reshape(12), 0, 0, roi)
                writer.write(f"/{name}/camera_info", info, recorded)
    return drive


@pytest.mark.parametrize("rectified", [True, False])
def test_nuscenes_rosbag_style(tmp_path: Path, rectified: bool) -> None:
    drive = write_foreign(tmp_path / "bag")
    frames, counts = read(
        tmp_path / "bag", cameras__CAM_FRONT__rectified=rectified, cameras__CAM_BACK__rectified=rectified
    )
    assert len(frames) == 21 and not counts.dropped
    # The first images are from before the first pose.
    assert counts.cameras == {"pose_extrapolated.CAM_FRONT": 1, "pose_extrapolated.CAM_BACK": 1}
    check_geometry(frames, drive, tolerance=2e-3)  # 2 Hz poses of a curve are interpolated: that is all they give


def test_ros1_bag_with_upper_case_camera_info(tmp_path: Path) -> None:
    """The very messages of a ROS 2 drive, written as ROS 1 (whose CameraInfo has K, D, R, P, and no tf2 by default)."""
    drive = write(tmp_path / "ros2")
    store, ros2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    with AnyReader([tmp_path / "ros2"]) as reader, Rosbag1Writer(tmp_path / "ros1.bag") as writer:
        connections = {
            c.topic: writer.add_connection(c.topic, c.msgtype, typestore=store, latching=int(c.topic == "/tf_static"))
            for c in reader.connections
        }
        for connection, stamp, data in reader.messages():
            raw = ros2.cdr_to_ros1(data, connection.msgtype)
            writer.write(connections[connection.topic], stamp, raw)
    with MessageReader(tmp_path / "ros1.bag") as source:
        raw = next(source.messages(["/CAM_FRONT/camera_info"]))
        assert hasattr(store.deserialize_ros1(raw.data, raw.msgtype), "K") and hasattr(raw.decode(), "k")
        assert source.topics["/tf_static"].transient_local
    frames, counts = read(tmp_path / "ros1.bag")
    expected, _ = read(tmp_path / "ros2")
    check_geometry(frames, drive)
    assert len(frames) == 5 and not counts.dropped and not counts.cameras and not counts.messages
    for a, b in zip(frames, expected, strict=True):
        assert np.array_equal(a.points, b.points) and np.array_equal(a.ground_truth, b.ground_truth)
        assert all(np.array_equal(v.image, w.image) for v, w in zip(a.views, b.views, strict=True))


# Bad input ------------------------------------------------------------------------------------------------------------


def test_missing_bag(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such bag"):
        BagReader(tmp_path / "nothing", config())


def test_missing_metadata(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    (tmp_path / "bag" / "metadata.yaml").unlink()
    with pytest.raises(BagError, match=r"metadata\.yaml is missing.*reindex"):
        BagReader(tmp_path / "bag", config())
    frames, _ = read(tmp_path / "bag" / "bag.mcap")  # the file alone is enough
    assert len(frames) == 5


@pytest.mark.parametrize("text", ["", "a: [", "rosbag2_bagfile_information: {version: 9}", "42"])
def test_damaged_metadata(tmp_path: Path, text: str) -> None:
    write(tmp_path / "bag")
    (tmp_path / "bag" / "metadata.yaml").write_text(text)
    with pytest.raises(BagError, match="bag: cannot be read"):
        read(tmp_path / "bag")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_storage(tmp_path: Path, storage, share: float) -> None:
    write(tmp_path / "bag", storage=storage)
    (file,) = [path for path in (tmp_path / "bag").iterdir() if path.name != "metadata.yaml"]
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    if (storage, share) == ("sqlite3", 0.99):  # the last page may hold nothing of ours
        assert len(read(tmp_path / "bag")[0]) == 5
        return
    with pytest.raises(BagError, match=r"bag: cannot be read"):
        read(tmp_path / "bag")


def test_sweeps_that_are_missing_are_told(tmp_path: Path, caplog) -> None:
    write(tmp_path / "bag", storage="sqlite3")
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as database:
        database.execute("DELETE FROM messages WHERE timestamp > ?", (Drive().sweep_ns(2),))
    with BagReader(tmp_path / "bag", config()) as reader:
        assert len(list(reader.frames())) == 3
        (notice,) = reader.notices
    assert "the files hold fewer messages than metadata.yaml says: /tf 9 of 15" in notice
    assert "/LIDAR_TOP 3 of 5" in notice
    assert [record.message for record in caplog.records] == [notice]


def test_flipped_bytes_never_escape_as_other_errors(tmp_path: Path) -> None:
    """Whatever is damaged: frames, counted drops, or a BagError."""
    write(tmp_path / "bag", Drive(sweeps=2))
    file = tmp_path / "bag" / "bag.mcap"
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(10):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            damaged[place] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        try:
            frames, _ = read(tmp_path / "bag")
            outcomes.add(len(frames))
        except BagError:
            outcomes.add("refused")
    assert len(outcomes) > 1


def test_missing_lidar_topic_is_named(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    with pytest.raises(BagError, match=r"lidar: no topic /velodyne_points \(of this type: /LIDAR_TOP"):
        read(tmp_path / "bag", lidar__topic="/velodyne_points")
    with pytest.raises(BagError, match="lidar: /odom is nav_msgs/msg/Odometry, sensor_msgs/msg/PointCloud2 expected"):
        read(tmp_path / "bag", lidar__topic="/odom")


def test_missing_camera_is_warned_of_and_not_waited_for(tmp_path: Path, caplog) -> None:
    write(tmp_path / "bag", Drive(camera_lag_ns={"CAM_FRONT": 30_000_000}))
    with caplog.at_level(logging.WARNING):
        frames, counts = read(tmp_path / "bag")
    assert "cameras.CAM_BACK.image: no topic /CAM_BACK/image_rect_compressed" in caplog.text
    assert [len(frame.views) for frame in frames] == [1] * 5 and not counts.cameras


def test_unknown_message_types_are_passed_over(tmp_path: Path) -> None:
    drive = Drive(sweeps=2)
    with BagWriter(tmp_path / "bag") as writer:
        drive.write(writer)
        assert writer._writer is not None
        definition = {"msgdef": "no_such_msgs/Part[] parts\n", "rihs01": "RIHS01_" + "0" * 64}
        connection = writer._writer.add_connection("/strange", "strange_msgs/msg/Strange", **definition)
        writer._writer.write(connection, START, b"\x00\x01\x00\x00????")
    frames, counts = read(tmp_path / "bag")
    assert len(frames) == 2 and not counts.dropped
    with pytest.raises(BagError, match="/strange is strange_msgs/msg/Strange, sensor_msgs/msg/PointCloud2 expected"):
        read(tmp_path / "bag", lidar__topic="/strange")


def test_bag_without_type_definitions(tmp_path: Path) -> None:
    """sqlite3 bags of older distributions carry none."""
    write(tmp_path / "bag", storage="sqlite3", version=8)
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as database:
        database.execute("DELETE FROM message_definitions")
    frames, _ = read(tmp_path / "bag")
    assert len(frames) == 5


def test_upper_case_fields_left_by_conversion(tmp_path: Path) -> None:
    """rosbags-convert leaves ROS 1's CameraInfo definition in rosbag2."""
    write(tmp_path / "bag")
    store = get_typestore(Stores.ROS2_JAZZY)
    msgdef, _ = store.generate_msgdef("sensor_msgs/msg/CameraInfo", ros_version=2)
    for name in "dkrp":
        msgdef = msgdef.replace(f"] {name}\n", f"] {name.upper()}\n")
    assert "float64[9] K" in msgdef
    with MessageReader(tmp_path / "bag") as source:
        writer = Writer(tmp_path / "upper", version=9, storage_plugin=StoragePlugin.MCAP)
        with writer:
            for name, topic in source.topics.items():
                given = {"msgdef": msgdef, "rihs01": "RIHS01_" + "1" * 64} if "CameraInfo" in topic.msgtype else {}
                writer.add_connection(name, topic.msgtype, typestore=store, **given)
            by_topic = {c.topic: c for c in writer.connections}
            for message in source.messages():
                writer.write(by_topic[message.topic], message.log_time_ns, message.data)
    frames, counts = read(tmp_path / "upper")
    assert len(frames) == 5 and not counts.cameras
    assert np.allclose(frames[0].views[0].camera.K, K)


def test_bad_messages_are_counted_and_the_stream_goes_on(tmp_path: Path) -> None:
    drive = Drive(sweeps=8)
    with BagWriter(tmp_path / "bag") as writer:
        drive.write(writer, labels=False)
        # Between the good sweeps; recorded at their own stamps.
        between = SECOND // 20

        def cloud(index: int, **changes: object) -> None:
            data = encode_cloud({name: np.zeros(3, np.float32) for name in "xyz"})
            field_type = writer.types["sensor_msgs/msg/PointField"]
            msg = writer.types["sensor_msgs/msg/PointCloud2"](
                header=writer.header(drive.sweep_ns(index) + between, "LIDAR_TOP"),
                height=1, width=3, fields=[field_type(*spec) for spec in data.fields], is_bigendian=False,
                point_step=data.point_step, row_step=3 * data.point_step, data=data.data, is_dense=True,
            )  # fmt: skip
            for name, value in changes.items():
                setattr(msg, name, value)
            writer.write("/LIDAR_TOP", msg, drive.sweep_ns(index) + between)

        cloud(0, width=0, row_step=0, data=np.zeros(0, np.uint8))
        cloud(1, point_step=7)
        cloud(2, fields=[])
        writer.write(
            "/LIDAR_TOP", b"\x00\x01\x00\x00\xff", drive.sweep_ns(3) + 1, msgtype="sensor_msgs/msg/PointCloud2"
        )
        drive.write_sweep(writer, 0, stamp_ns=0)
        name, stamp = "CAM_FRONT", drive.sweep_ns(7) + 2 * between
        drive.sweeps = 11
        for index, data in ((8, jpeg(0)[:200]), (9, jpeg(0, 32, 32)), (10, b"")):
            stamp = drive.sweep_ns(index)
            writer.write_tf(stamp, [("odom", "base_link", pose(stamp))])
            writer.write_image_bytes(f"/{name}/image_rect_compressed", stamp, name, data, "jpeg")
            writer.write_image_bytes("/CAM_BACK/image_rect_compressed", stamp, "CAM_BACK", jpeg(1), "jpeg")
            drive.write_sweep(writer, index)
    frames, counts = read(tmp_path / "bag")
    assert len(frames) == counts.frames == 11 and counts.frames_in == 16
    assert sum(counts.dropped.values()) == 5
    assert counts.dropped["undecodable"] == counts.dropped["stamp_zero"] == counts.dropped["cloud_empty"] == 1
    assert [view.name for frame in frames[-3:] for view in frame.views] == ["CAM_BACK"] * 3
    assert counts.cameras["image_size.CAM_FRONT"] == 1
    assert sum(n for reason, n in counts.cameras.items() if reason.endswith(".CAM_FRONT")) >= 3


def test_looping_bag_and_a_camera_that_dies(tmp_path: Path) -> None:
    drive = Drive(sweeps=6)
    with BagWriter(tmp_path / "bag") as writer:
        for lap in range(2):
            for index in range(20):
                stamp, recorded = drive.sweep_ns(index), drive.sweep_ns(index + 20 * lap)
                for name, lag in drive.camera_lag_ns.items():
                    if name == "CAM_FRONT" or index < 15:
                        image = writer.types["sensor_msgs/msg/CompressedImage"]
                        data = np.frombuffer(jpeg(index), np.uint8)
                        msg = image(writer.header(stamp - lag, name), "jpeg", data)
                        writer.write(f"/{name}/image_rect_compressed", msg, recorded - lag)
                        writer.write_camera_info(
                            f"/{name}/camera_info", recorded - lag, name, CameraModel(WIDTH, HEIGHT, K)
                        )
                points = encode_cloud({n: np.ones(4, np.float32) for n in "xyz"})
                field_type = writer.types["sensor_msgs/msg/PointField"]
                cloud = writer.types["sensor_msgs/msg/PointCloud2"](
                    header=writer.header(stamp, "LIDAR_TOP"), height=1, width=4,
                    fields=[field_type(*spec) for spec in points.fields], is_bigendian=False,
                    point_step=12, row_step=48, data=points.data, is_dense=True,
                )  # fmt: skip
                writer.write("/LIDAR_TOP", cloud, recorded)
    calibration(tmp_path / "bag")
    frames, counts = read(tmp_path / "bag")
    assert [frame.stamp_ns for frame in frames] == [drive.sweep_ns(i) for i in range(20)] * 2
    assert counts.frames == counts.frames_in == 40 and not counts.dropped
    assert [len(frame.views) for frame in frames] == ([2] * 15 + [1] * 5) * 2
    assert counts.cameras["image_missing.CAM_BACK"] == 10


def test_late_tf_and_labels_are_read_ahead(tmp_path: Path) -> None:
    """TF and labels that were recorded a second behind their sweep are used all the same."""
    write(tmp_path / "early")
    late = {"/tf", "/tf_static", "/ground_truth/labels", "/CAM_FRONT/camera_info"}
    with MessageReader(tmp_path / "early") as source, BagWriter(tmp_path / "late") as writer:
        for message in source.messages():
            delay = SECOND if message.topic in late else 0
            writer.write(message.topic, message.data, message.log_time_ns + delay, msgtype=message.msgtype)
    frames, counts = read(tmp_path / "late")
    check_geometry(frames, Drive())
    assert all(frame.ground_truth is not None for frame in frames) and not counts.cameras


def test_broken_transforms_are_counted(tmp_path: Path) -> None:
    drive = Drive()
    with BagWriter(tmp_path / "bag") as writer:
        drive.write(writer)
        broken = np.eye(4)
        broken[0, 3] = np.nan
        writer.write_tf(drive.sweep_ns(1), [("odom", "base_link", broken)])
    frames, counts = read(tmp_path / "bag")
    check_geometry(frames, drive)
    assert counts.messages == {"transform./tf": 1}


def test_bag_may_move(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    shutil.move(tmp_path / "bag", tmp_path / "other")
    assert len(read(tmp_path / "other")[0]) == 5
