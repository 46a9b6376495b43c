from __future__ import annotations

from typing import Any

from node_support import LogRecorder, make_statistics
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from sam_adapt_ros.nodes.input.subscriptions import TopicSubscription, type_name


def test_a_subscription_adapts_to_type_and_reliability(node: Node, drivers: Node, spin: Any) -> None:
    seen: list[Any] = []
    log = LogRecorder()
    statistics = make_statistics(log)

    def take(message: Any) -> None:
        if getattr(message, "encoding", "") == "rgb8":
            raise ZeroDivisionError("rgb8")
        seen.append(message)

    topic = TopicSubscription(node, "/camera", [Image, CompressedImage], take, statistics, "cameras.front.image")
    topic.update()
    assert topic.waiting_for == "/camera (no publisher; set by cameras.front.image)"
    wrong = drivers.create_publisher(PointCloud2, "/camera", 1)
    spin(lambda: node.count_publishers("/camera"))
    topic.update()
    assert "sensor_msgs/msg/Image or sensor_msgs/msg/CompressedImage expected" in topic.waiting_for
    drivers.destroy_publisher(wrong)
    reliable = drivers.create_publisher(CompressedImage, "/camera", 10)

    def published(publisher: Any, message: Any) -> None:
        spin(lambda: topic.update() or publisher.get_subscription_count())
        count = topic.received
        publisher.publish(message)
        spin(lambda: topic.received > count)

    published(reliable, CompressedImage(format="jpeg"))
    assert seen[-1].format == "jpeg"
    assert topic.waiting_for == ""
    (subscription,) = (s for s in node.subscriptions if s.topic_name == "/camera")
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    # A best-effort sensor joins: a reliable subscription would not receive from it.
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    sensor = drivers.create_publisher(CompressedImage, "/camera", best_effort)
    spin(lambda: node.count_publishers("/camera") == 2)
    published(sensor, CompressedImage(format="png"))
    # The camera driver is started anew, with raw images.
    drivers.destroy_publisher(reliable)
    drivers.destroy_publisher(sensor)
    spin(lambda: node.count_publishers("/camera") == 0)
    raw = drivers.create_publisher(Image, "/camera", 10)
    published(raw, Image(encoding="mono8"))
    assert seen[-1].encoding == "mono8"
    # One bad message does not end the stream.
    published(raw, Image(encoding="rgb8"))
    published(raw, Image(encoding="mono16"))
    assert seen[-1].encoding == "mono16"
    assert statistics.warnings == {"camera_ZeroDivisionError": 1}
    assert log.lines[-1] == "/camera: message ignored (ZeroDivisionError): rgb8"
    topic._lost(type("Event", (), {"total_count_change": 3})())
    assert statistics.warnings["camera_message_lost"] == 3
    topic.close()
    assert not [s for s in node.subscriptions if s.topic_name == "/camera"]


def test_type_names() -> None:
    assert type_name(Image) == "sensor_msgs/msg/Image"
