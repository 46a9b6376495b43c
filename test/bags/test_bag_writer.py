"""The writer: what is written comes back, and the final name never holds half a bag."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_factory import HEIGHT, START, WIDTH, Drive, K, jpeg, transform
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import Writer
from scipy.spatial.transform import Rotation

from sam_adapt_ros.bags import BagWriter, MessageReader
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry import CameraModel, Distortion
from sam_adapt_ros.messages import camera_from_info, decode_image, read_labels, stamp_ns

KINDS = [("mcap", 9), ("mcap", 8), ("sqlite3", 9), ("sqlite3", 8)]


def read_all(path: Path) -> dict[str, list]:
    messages: dict[str, list] = {}
    with MessageReader(path) as source:
        for message in source.messages():
            messages.setdefault(message.topic, []).append((message.log_time_ns, message.decode()))
    return messages


@pytest.mark.parametrize(("storage", "version"), KINDS)
def test_every_message_comes_back(tmp_path: Path, storage, version) -> None:
    T = transform((1, 2, 3), (0.1, -0.4, 2.0))
    camera = CameraModel(WIDTH, HEIGHT, K, Distortion.PLUMB_BOB, (0.1, 0.01, 0.001, 0.002, 0))
    with BagWriter(tmp_path / "bag", storage, version) as writer:
        writer.write_tf_static(START, [("base_link", "LIDAR_TOP", T), ("base_link", "CAM_FRONT", np.eye(4))])
        writer.write_tf(START + 1, [("odom", "base_link", T)])
        writer.write_odometry("/odom", START + 2, "odom", "base_link", T, linear=(1, 2, 3))
        writer.write_image_bytes("/image", START + 4, "CAM_FRONT", jpeg(3), "jpeg")
        writer.write_camera_info("/info", START + 5, "CAM_FRONT", camera)
        points = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
        colors = np.zeros((256, 3), np.uint8)
        writer.write_labels("/labels", START + 6, "LIDAR_TOP", points, np.arange(7, dtype=np.uint8), np.ones(7), colors)

    messages = read_all(tmp_path / "bag")
    assert {topic: [log for log, _ in found] for topic, found in messages.items()} == {
        "/tf_static": [START], "/tf": [START + 1], "/odom": [START + 2],
        "/image": [START + 4], "/info": [START + 5], "/labels": [START + 6],
    }  # fmt: skip
    ((_, image),) = messages["/image"]
    assert (bytes(image.data), image.format, stamp_ns(image.header)) == (jpeg(3), "jpeg", START + 4)
    ((_, info),) = messages["/info"]
    model = camera_from_info(info, rectified=False)
    assert np.array_equal(model.K, K) and model.D == camera.D and model.distortion is Distortion.PLUMB_BOB
    assert np.array_equal(info.p.reshape(3, 4)[:, :3], K) and np.array_equal(info.r.reshape(3, 3), np.eye(3))
    ((_, odometry),) = messages["/odom"]
    assert (odometry.child_frame_id, odometry.pose.pose.position.z, odometry.twist.twist.linear.y) == (
        "base_link",
        3,
        2,
    )
    ((_, static),) = messages["/tf_static"]
    assert [t.child_frame_id for t in static.transforms] == ["LIDAR_TOP", "CAM_FRONT"]
    ((_, labels),) = messages["/labels"]
    read_back, class_id, probability = read_labels(labels)
    assert np.array_equal(read_back, points) and np.array_equal(class_id, np.arange(7)) and (probability == 1).all()


@pytest.mark.parametrize(("storage", "version"), KINDS)
def test_metadata_has_the_qos_of_its_version(tmp_path: Path, storage, version) -> None:
    with BagWriter(tmp_path / "bag", storage, version) as writer:
        Drive(sweeps=1).write(writer)
    data = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (data["version"], data["storage_identifier"]) == (version, storage)
    assert data["relative_file_paths"] == [f"bag.{'mcap' if storage == 'mcap' else 'db3'}"]
    qos = {t["topic_metadata"]["name"]: t["topic_metadata"]["offered_qos_profiles"]
           for t in data["topics_with_message_count"]}  # fmt: skip
    if version == 8:  # Humble reads a YAML text with rmw's enumerators; newer ones read names
        qos = {name: yaml.safe_load(text) for name, text in qos.items()}
    transient, volatile, reliable = (1, 2, 1) if version == 8 else ("transient_local", "volatile", "reliable")
    assert qos["/tf_static"][0]["durability"] == transient
    assert qos["/LIDAR_TOP"][0]["durability"] == qos["/tf"][0]["durability"] == volatile
    assert {profile["reliability"] for (profile,) in qos.values()} == {reliable}
    with MessageReader(tmp_path / "bag") as source:
        assert [name for name, topic in source.topics.items() if topic.transient_local] == ["/tf_static"]


def test_undistorted_camera_is_plumb_bob_with_zeros(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_camera_info("/info", START, "CAM", CameraModel(WIDTH, HEIGHT, K))
    ((_, info),) = read_all(tmp_path / "bag")["/info"]
    assert info.distortion_model == "plumb_bob" and len(info.d) == 5 and not info.d.any()
    assert camera_from_info(info, rectified=False).distortion in (Distortion.NONE, Distortion.PLUMB_BOB)


def test_taken_name_is_refused_and_kept(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        Drive(sweeps=1).write(writer)
    before = sorted((file.name, file.read_bytes()) for file in (tmp_path / "bag").iterdir())
    with pytest.raises(BagError, match=r"exists.*--force"):
        BagWriter(tmp_path / "bag")
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "bag", force=True) as writer:
        Drive(sweeps=2).write(writer)
        raise RuntimeError
    assert sorted((file.name, file.read_bytes()) for file in (tmp_path / "bag").iterdir()) == before
    with BagWriter(tmp_path / "bag", "sqlite3", force=True) as writer:
        Drive(sweeps=2).write(writer)
    assert {file.name for file in (tmp_path / "bag").iterdir()} == {"bag.db3", "metadata.yaml"}
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_force_does_not_replace_what_is_no_bag(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("")
    with pytest.raises(BagError, match="not a bag"):
        BagWriter(tmp_path / "thesis", force=True)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_interruption_leaves_nothing(tmp_path: Path, storage, interruption) -> None:
    with pytest.raises(interruption), BagWriter(tmp_path / "bag", storage) as writer:
        Drive(sweeps=1).write(writer)
        raise interruption
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BagError, match="No space left"), BagWriter(tmp_path / "bag") as writer:
        monkeypatch.setattr(Writer, "write", full)
        Drive(sweeps=1).write(writer)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(Writer, "close", full)
    with pytest.raises(BagError, match="No space left"), BagWriter(tmp_path / "bag") as writer:
        Drive(sweeps=1).write(writer)
    assert list(tmp_path.iterdir()) == []


def test_files_beside_the_messages_become_part_of_the_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "a" / "bag") as writer:
        Drive(sweeps=1).write(writer)
        (writer.folder / "calibration.yaml").write_text("x: 1")
        assert not (tmp_path / "a" / "bag").exists()
    assert (tmp_path / "a" / "bag" / "calibration.yaml").read_text() == "x: 1"


def test_topic_keeps_its_type(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_image_bytes("/image", START, "CAM", b"x", "jpeg")
        with pytest.raises(BagError, match="/image: sensor_msgs/msg/CompressedImage expected"):
            writer.write_odometry("/image", START, "odom", "base_link", np.eye(4), linear=(0, 0, 0))
        with pytest.raises(BagError, match="unknown message type 'no_msgs/msg/Such'"):
            writer.write("/other", b"", START, msgtype="no_msgs/msg/Such")


def test_serialized_messages_are_passed_on(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "a") as writer:
        writer.write_image_bytes("/image", START, "CAM", jpeg(1), "jpeg")
    with MessageReader(tmp_path / "a") as source, BagWriter(tmp_path / "b", "sqlite3", 8) as writer:
        for message in source.messages():
            writer.write(message.topic, message.cdr(), message.log_time_ns, msgtype=message.msgtype)
    ((_, image),) = read_all(tmp_path / "b")["/image"]
    assert decode_image(image).shape == (HEIGHT, WIDTH, 3)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rotvec=st.tuples(*[st.floats(-3, 3)] * 3),
    translation=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    stamp=st.integers(0, 2**31 * 10**9 - 1),
)
def test_transforms_survive_writing(tmp_path_factory, rotvec, translation, stamp) -> None:
    path = tmp_path_factory.mktemp("bags") / "bag"
    T = transform(translation, rotvec)
    with BagWriter(path) as writer:
        writer.write_tf(stamp, [("odom", "base_link", T)])
    ((log, msg),) = read_all(path)["/tf"]
    assert log == stamp == stamp_ns(msg.transforms[0].header)
    q, t = msg.transforms[0].transform.rotation, msg.transforms[0].transform.translation
    assert np.allclose(transform((t.x, t.y, t.z))[:3, 3], T[:3, 3], atol=0, rtol=0)
    assert np.abs(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix() - T[:3, :3]).max() < 1e-14
