from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from node_support import START_NS, make_config, make_statistics, odometry_message, until
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.messages import FrameAssembler
from sam_adapt_ros.nodes.input import transform_listener
from sam_adapt_ros.nodes.input.transform_listener import TransformListener


def test_tf_is_used_where_its_messages_exist(
    node: Node, calibration: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(**values: object) -> tuple[TransformListener, FrameAssembler]:
        config = make_config(weights, calibration, ("front",), **values)
        assembler = FrameAssembler(config)
        return TransformListener(node, config, assembler, make_statistics(), lambda: None), assembler

    monkeypatch.setattr(transform_listener, "TFMessage", None)
    without, _ = make(**{"transforms.calibration_file": ""})
    assert [t.topic for t in without.topics] == ["/odom"]
    assert "set transforms.calibration_file" in without.waiting_for[0]
    from_file, assembler = make()
    assert [t.topic for t in from_file.topics] == ["/odom"]
    assert from_file.waiting_for == ["/odom (no publisher; set by transforms.odometry_topic)"]
    assert assembler.tree.lookup("base_link", "lidar", 0)[2, 3] == pytest.approx(1.8)
    # Stands in for tf2_msgs/TFMessage, which is not on PyPI.
    monkeypatch.setattr(transform_listener, "TFMessage", PointCloud2)
    with_tf, _ = make(**{"transforms.calibration_file": ""})
    assert [t.topic for t in with_tf.topics] == ["/tf", "/tf_static", "/odom"]
    assert with_tf.waiting_for == ["the first transform on /tf or /tf_static"]
    both, _ = make()
    assert [t.topic for t in both.topics] == ["/tf", "/tf_static", "/odom"]


def test_transforms_of_the_lidars_namespace_are_taken_before_those_above_it(
    node: Node, calibration: Path, weights: Path, drivers: Node, spin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud stands in for tf2_msgs/TFMessage, which is not on PyPI."""
    monkeypatch.setattr(transform_listener, "TFMessage", PointCloud2)
    values = {"transforms.calibration_file": "", "lidar.topic": "/robot1/points", "transforms.odometry_topic": ""}
    assembler = FrameAssembler(make_config(weights, calibration, ("front",), **values))
    taken: list[tuple[str, bool]] = []
    monkeypatch.setattr(assembler.transforms, "tf", lambda msg, static, topic: taken.append((topic, static)) or 0)
    config = make_config(weights, calibration, ("front",), **values)
    listener = TransformListener(node, config, assembler, make_statistics(), lambda: None)
    topics = ["/robot1/tf", "/tf", "/robot1/tf_static", "/tf_static"]
    assert [topic.topic for topic in listener.topics] == topics

    def receive(topic: str) -> None:
        publisher = drivers.create_publisher(PointCloud2, topic, 1)
        subscription = next(each for each in listener.topics if each.topic == topic)
        before = subscription.received

        def matched() -> bool:
            subscription.update()
            return publisher.get_subscription_count() > 0

        spin(matched)
        publisher.publish(PointCloud2())
        spin(lambda: subscription.received > before)
        drivers.destroy_publisher(publisher)

    receive("/tf")
    assert set(taken) == {("/tf", False)}
    taken.clear()
    receive("/robot1/tf")
    assert set(taken) == {("/robot1/tf", False)}
    taken.clear()
    receive("/tf")
    assert not taken, "another vehicle's"
    receive("/tf_static")
    assert set(taken) == {("/tf_static", True)}


def test_unusable_odometry_is_counted_and_said_once(node: Node, calibration: Path, weights: Path) -> None:
    config = make_config(weights, calibration, ("front",))
    statistics, changes = make_statistics(), []
    assembler = FrameAssembler(config, notices=statistics.notices)
    listener = TransformListener(node, config, assembler, statistics, lambda: changes.append(1))
    for number in range(5):
        message = odometry_message(START_NS + number)
        message.child_frame_id = ""
        listener._take_odometry(message)
    assert statistics.warnings == {"odom_transform": 5} and len(changes) == 5
    (notice,) = statistics.notices
    assert notice.startswith("/odom: 5 messages left out: child_frame_id is empty")


def test_transforms_of_a_namespace_are_mentioned(
    node: Node, calibration: Path, weights: Path, drivers: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform_listener, "TFMessage", PointCloud2)
    monkeypatch.setattr(transform_listener, "TF_TYPE", "sensor_msgs/msg/PointCloud2")
    config = make_config(weights, calibration, ("front",), **{"transforms.calibration_file": ""})
    listener = TransformListener(node, config, FrameAssembler(config), make_statistics(), lambda: None)
    drivers.create_publisher(PointCloud2, "/robot1/tf", 1)
    until(lambda: "there is /robot1/tf: remap /tf and /tf_static" in listener.waiting_for[0])
