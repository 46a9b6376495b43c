"""Which TF topics of a bag are this vehicle's: bags of several robots have them in namespaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_factory import Drive, config, expected_T_camera_lidar

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader, bag_info
from sam_adapt_ros.bags.message_reader import RawMessage, Topic
from sam_adapt_ros.bags.topic_roles import TopicRoles, find_topic_roles


def roles(lidar: str, *tf_topics: str) -> TopicRoles:
    topics = [
        Topic(lidar, "sensor_msgs/msg/PointCloud2", 10, False),
        Topic("/odom", "nav_msgs/msg/Odometry", 10, False),
    ]
    topics += [Topic(name, "tf2_msgs/msg/TFMessage", 10, False) for name in tf_topics]
    return find_topic_roles({topic.name: topic for topic in topics}, config(lidar__topic=lidar))


@pytest.mark.parametrize(
    ("lidar", "there", "used"),
    [
        ("/points", ("/tf", "/tf_static"), ("/tf", "/tf_static")),
        ("/robot1/points", ("/tf", "/tf_static"), ("/tf", "/tf_static")),
        (
            "/robot1/lidar/points",
            ("/robot1/tf", "/robot1/tf_static", "/robot2/tf"),
            ("/robot1/tf", "/robot1/tf_static"),
        ),
        ("/robot1/points", ("/tf", "/robot1/tf", "/tf_static"), ("/robot1/tf", "/tf_static")),
        ("/points", ("/tf", "/robot1/tf"), ("/tf",)),
    ],
)
def test_transforms_are_of_the_lidars_namespace_or_above(lidar, there, used) -> None:
    found = roles(lidar, *there)
    assert found.transforms == {topic: topic.endswith("_static") for topic in used}
    assert not found.guessed and not any(line.startswith("transforms:") for line in found.missing)


def test_the_only_transforms_there_are_are_used_and_said() -> None:
    found = roles("/points", "/robot1/tf", "/robot1/tf_static")
    assert found.transforms == {"/robot1/tf": False, "/robot1/tf_static": True}
    assert found.guessed[0] == "transforms: /robot1/tf is used, there is no /tf"
    assert len(found.guessed) == 2


def test_transforms_of_several_other_vehicles_are_named() -> None:
    found = roles("/points", "/robot1/tf", "/robot2/tf")
    assert not found.transforms
    assert any("/robot1/tf, /robot2/tf are of several vehicles" in line for line in found.missing)


def test_a_bag_whose_transforms_are_in_a_namespace(tmp_path: Path) -> None:
    drive = Drive()
    with BagWriter(tmp_path / "plain") as writer:
        drive.write(writer, odometry=False)
    with MessageReader(tmp_path / "plain") as reader, BagWriter(tmp_path / "bag") as writer:
        for message in reader.messages():
            topic = message.topic.replace("/tf", "/robot1/tf")
            _copy(message, writer, topic)
    info = bag_info(tmp_path / "bag", config())
    assert any("/robot1/tf is used, there is no /tf" in line for line in info.notices)
    with BagReader(tmp_path / "bag", config()) as reader:
        frames = list(reader.frames())
        assert any("/robot1/tf is used" in line for line in reader.notices)
    assert len(frames) == 5
    for frame in frames:
        for view in frame.views:
            expected = expected_T_camera_lidar(view.name, view.stamp_ns, frame.stamp_ns)
            assert np.abs(view.T_camera_lidar - expected).max() < 1e-6
        assert len(frame.views) == 2


def _copy(message: RawMessage, writer: BagWriter, topic: str) -> None:
    writer.write(topic, bytes(message.cdr()), message.log_time_ns, msgtype=message.msgtype)
