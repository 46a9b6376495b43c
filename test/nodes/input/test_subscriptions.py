from __future__ import annotations

from typing import Any

import pytest
from node_support import LogRecorder, make_statistics
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String

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
    topic._lost(DurabilityPolicy.VOLATILE, type("Event", (), {"total_count_change": 3})())
    assert statistics.warnings["camera_message_lost"] == 3
    topic.close()
    assert not [s for s in node.subscriptions if s.topic_name == "/camera"]


def test_a_topic_that_falls_silent_is_waited_for_again(node: Node, drivers: Node, spin: Any) -> None:
    topic = TopicSubscription(node, "/sweeps", [PointCloud2], lambda _: None, make_statistics(), silence_s=0.3)
    publisher = drivers.create_publisher(PointCloud2, "/sweeps", 10)
    spin(lambda: topic.update() or publisher.get_subscription_count())
    for count in (1, 2):
        publisher.publish(PointCloud2())
        spin(lambda count=count: topic.received == count)
        assert topic.waiting_for == ""
        spin(lambda: topic.waiting_for == "/sweeps (no message any more)")
    topic.close()


LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def info(width: int) -> CameraInfo:
    message = CameraInfo(width=width)
    message.header.stamp.sec = width
    return message


@pytest.mark.parametrize("latched_first", [True, False])
def test_latched_and_volatile_publishers_share_a_topic(
    node: Node, drivers: Node, spin: Any, latched_first: bool
) -> None:
    """Nothing of either is lost, and nothing comes twice, in whatever order they start."""
    seen: list[int] = []
    topic = TopicSubscription(
        node, "/mixed/info", [CameraInfo], lambda msg: seen.append(msg.width), make_statistics(), "cameras.front.info"
    )

    def start_latched() -> Any:
        publisher = drivers.create_publisher(CameraInfo, "/mixed/info", LATCHED)
        publisher.publish(info(1))
        return publisher

    def start_volatile() -> Any:
        return drivers.create_publisher(CameraInfo, "/mixed/info", 10)

    if latched_first:
        latched = start_latched()
        spin(lambda: topic.update() or seen)
        volatile = start_volatile()
    else:
        volatile = start_volatile()
        spin(lambda: topic.update() or volatile.get_subscription_count())
        latched = start_latched()
    spin(lambda: topic.update() or (latched.get_subscription_count() == 2 and volatile.get_subscription_count()))
    spin(lambda: seen)
    volatile.publish(info(2))
    latched.publish(info(3))
    spin(lambda: len(seen) >= 3)
    latched.publish(info(4))  # it could be behind a second coming of the others
    spin(lambda: 4 in seen)
    assert sorted(seen) == [1, 2, 3, 4]
    assert topic.received == 4
    # The latched publisher alone is left: one subscription that matches it, and it still gets what is kept.
    drivers.destroy_publisher(volatile)
    drivers.destroy_publisher(latched)
    spin(lambda: node.count_publishers("/mixed/info") == 0)
    latched = drivers.create_publisher(CameraInfo, "/mixed/info", LATCHED)
    latched.publish(info(5))
    spin(lambda: topic.update() or 5 in seen)
    (subscription,) = (s for s in node.subscriptions if s.topic_name == "/mixed/info")
    assert subscription.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    topic.close()


def test_messages_without_a_header_come_from_both_kinds_of_publishers(node: Node, drivers: Node, spin: Any) -> None:
    """As on /tf_static, where a latched broadcaster and a volatile one meet."""
    seen: list[str] = []
    topic = TopicSubscription(node, "/mixed/text", [String], lambda msg: seen.append(msg.data), make_statistics())
    latched = drivers.create_publisher(String, "/mixed/text", LATCHED)
    volatile = drivers.create_publisher(String, "/mixed/text", 10)
    latched.publish(String(data="kept"))
    spin(lambda: node.count_publishers("/mixed/text") == 2)
    spin(lambda: topic.update() or volatile.get_subscription_count())
    volatile.publish(String(data="sent"))
    spin(lambda: {"kept", "sent"} <= set(seen))
    topic.close()


def test_type_names() -> None:
    assert type_name(Image) == "sensor_msgs/msg/Image"
