"""Recorded messages as ROS 2 serializes them, whatever the bag's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_factory import Drive
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosReliability
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sam_adapt_ros.bags import BagWriter, MessageReader
from sam_adapt_ros.errors import BagError, MessageError

ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)


def write_ros1(path: Path, topic: str, message: object, msgtype: str, store=ROS1, cut: int | None = None) -> None:
    with Rosbag1Writer(path) as writer:
        connection = writer.add_connection(topic, msgtype, typestore=store, latching=1)
        writer.write(connection, 7, bytes(store.serialize_ros1(message, msgtype))[:cut])


def test_messages_of_a_ros1_bag_equal_the_ros2_originals(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "ros2") as writer:
        Drive(sweeps=1).write(writer)
    with AnyReader([tmp_path / "ros2"]) as reader, Rosbag1Writer(tmp_path / "ros1.bag") as writer:
        connections = [c for c in reader.connections if c.msgtype.startswith("sensor_msgs")]
        by_id = {c.id: writer.add_connection(c.topic, c.msgtype, typestore=ROS1) for c in connections}
        for connection, stamp, data in reader.messages(connections):
            writer.write(by_id[connection.id], stamp, ROS2.cdr_to_ros1(data, connection.msgtype))
    with MessageReader(tmp_path / "ros1.bag") as a, MessageReader(tmp_path / "ros2") as b:
        for topic in a.topics:
            ours, theirs = next(a.messages([topic])), next(b.messages([topic]))
            assert (ours.msgtype, ours.log_time_ns) == (theirs.msgtype, theirs.log_time_ns)
            assert bytes(ours.cdr()) == bytes(theirs.cdr())


def test_fields_that_ros2_added_get_their_defaults(tmp_path: Path) -> None:
    """visualization_msgs/Marker has a texture and a mesh file in ROS 2 only."""
    kinds = ROS1.types
    vector, color = (
        kinds["geometry_msgs/msg/Vector3"](1.0, 2.0, 3.0),
        kinds["std_msgs/msg/ColorRGBA"](0.0, 0.5, 1.0, 1.0),
    )
    pose = kinds["geometry_msgs/msg/Pose"](
        kinds["geometry_msgs/msg/Point"](4.0, 5.0, 6.0), kinds["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    )
    time, duration = kinds["builtin_interfaces/msg/Time"](1, 2), kinds["builtin_interfaces/msg/Duration"](3, 4)
    marker = kinds["visualization_msgs/msg/Marker"](
        kinds["std_msgs/msg/Header"](9, time, "map"), "cars", 8, 1, 0, pose, vector, color, duration, True,
        [], [color], "parked", "", False,
    )  # fmt: skip
    write_ros1(tmp_path / "old.bag", "/marker", marker, "visualization_msgs/msg/Marker")
    with MessageReader(tmp_path / "old.bag") as reader:
        (got,) = [message.decode() for message in reader.messages()]
        assert reader.topics["/marker"].transient_local  # it was latched
    assert (got.ns, got.id, got.text, got.header.frame_id, got.header.stamp.nanosec) == ("cars", 8, "parked", "map", 2)
    assert (got.pose.position.z, got.scale.y, len(got.colors), got.lifetime.sec) == (6.0, 2.0, 1, 3)
    assert (got.texture_resource, len(got.uv_coordinates)) == ("", 0)


def test_what_ros2_has_no_type_for_is_named(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg("float32 value", "my_msgs/msg/Strange"))
    write_ros1(tmp_path / "old.bag", "/strange", store.types["my_msgs/msg/Strange"](1.0), "my_msgs/msg/Strange", store)
    with MessageReader(tmp_path / "old.bag") as reader:
        assert reader.topics["/strange"].msgtype == "my_msgs/msg/Strange"
        message = next(reader.messages())
        for read in (message.cdr, message.decode):
            with pytest.raises(MessageError, match="/strange: unknown message type my_msgs/msg/Strange") as caught:
                read()
            assert caught.value.reason == "unknown_type"


def test_bytes_that_do_not_fit_their_type_are_named(tmp_path: Path) -> None:
    image = ROS1.types["sensor_msgs/msg/CompressedImage"](
        ROS1.types["std_msgs/msg/Header"](0, ROS1.types["builtin_interfaces/msg/Time"](1, 2), "camera"),
        "jpeg",
        np.arange(10, dtype=np.uint8),
    )
    write_ros1(tmp_path / "old.bag", "/image", image, "sensor_msgs/msg/CompressedImage", cut=14)
    with MessageReader(tmp_path / "old.bag") as reader:
        message = next(reader.messages())
        with pytest.raises(MessageError, match="/image: not a sensor_msgs/msg/CompressedImage") as caught:
            message.cdr()
        assert caught.value.reason == "undecodable"


def test_the_offered_quality_of_service_is_known(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        Drive(sweeps=1).write(writer)
    with MessageReader(tmp_path / "bag") as reader:
        assert [name for name, topic in reader.topics.items() if topic.transient_local] == ["/tf_static"]
        for topic in reader.topics.values():
            (qos,) = topic.offered_qos
            assert qos.reliability is QosReliability.RELIABLE


@pytest.mark.parametrize("name", ["metadata.yaml", "bag.mcap", "calibration.yaml", "old.bag"])
def test_what_clones_and_downloads_leave_is_named(tmp_path: Path, name: str) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        Drive(sweeps=1).write(writer)
    (tmp_path / "bag" / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 99\n")
    path = tmp_path / "bag" / name if name == "old.bag" else tmp_path / "bag"
    with pytest.raises(BagError, match=rf"{name}: is a Git LFS pointer.*git lfs pull"):
        MessageReader(path)
    (tmp_path / "bag" / name).write_text("\n<!doctype html><html></html>")
    with pytest.raises(BagError, match=rf"{name}: is a web page"):
        MessageReader(path)
