"""A bag out over DDS and back into a bag."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from node_support import SECOND, START_NS, Rig, as_bytes, cloud_message, until
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from std_msgs.msg import String

from sam_adapt_ros.bags import BagWriter, MessageReader, Topic
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.messages import encode_cloud, stamp_ns
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode
from sam_adapt_ros.nodes.tools.clock_source import ClockSource
from sam_adapt_ros.nodes.tools.message_types import message_class, qos_of
from sam_adapt_ros.nodes.tools.player import play
from sam_adapt_ros.nodes.tools.recorder import Recorder

FRAMES = 10
PERIOD_NS = SECOND // 20


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten sweeps and images at 20 Hz, odometry, and TF, which has no wheel."""
    path = tmp_path_factory.mktemp("bags") / "drive"
    generator = np.random.default_rng(0)
    with BagWriter(path) as writer:
        writer.write_tf_static(START_NS, [("base_link", "lidar", np.eye(4))])
        for frame in range(FRAMES):
            stamp = START_NS + frame * PERIOD_NS
            points = generator.normal(size=(100 + frame, 3)).astype(np.float32)
            writer.write_cloud("/points", stamp, "lidar", encode_cloud(dict(zip("xyz", points.T, strict=True))))
            writer.write_image_bytes("/image", stamp, "camera", generator.bytes(2000), "jpeg")
            writer.write_odometry("/odom", stamp, "odom", "base_link", np.eye(4))
    return path


class Subscriber(BackgroundNode):
    """Subscribes raw, so that bytes are compared."""

    name = "subscriber"

    def __init__(self, topics: dict[str, type]) -> None:
        self.messages: dict[str, list[bytes]] = {topic: [] for topic in topics}
        self.times: list[float] = []
        self._topics = topics

    def _connect(self, node: Node) -> None:
        for topic, kind in self._topics.items():
            node.create_subscription(kind, topic, lambda m, t=topic: self._take(t, m), 1000, raw=True)

    def _take(self, topic: str, message: bytes) -> None:
        self.messages[topic].append(message)
        if topic == "/points":
            self.times.append(time.monotonic())


def recorded(bag: Path) -> dict[str, list[bytes]]:
    messages: dict[str, list[bytes]] = {}
    with AnyReader([bag]) as reader:
        for connection, _, data in reader.messages():
            messages.setdefault(connection.topic, []).append(bytes(data))
    return messages


def test_the_recorded_bytes_are_published_at_the_recorded_pace(bag: Path) -> None:
    with Subscriber({"/points": PointCloud2, "/image": CompressedImage}) as subscriber:
        played = play(bag, wait_for=["/points", "/image"])
        until(lambda: len(subscriber.messages["/image"]) == FRAMES and len(subscriber.messages["/points"]) == FRAMES)
    sent = recorded(bag)
    assert subscriber.messages["/points"] == sent["/points"]
    assert subscriber.messages["/image"] == sent["/image"]
    expected = Counter({"/points": FRAMES, "/image": FRAMES, "/odom": FRAMES})
    if message_class("tf2_msgs/msg/TFMessage") is None:
        assert "tf2_msgs" in played.skipped["/tf_static"]
    else:
        expected["/tf_static"] = 1
    assert played.published == expected
    duration = (FRAMES - 1) * PERIOD_NS / SECOND
    assert subscriber.times[-1] - subscriber.times[0] == pytest.approx(duration, abs=0.3)
    assert duration <= played.seconds < duration + 3.0


def test_rate_loop_topics_and_clock(bag: Path) -> None:
    clock: list[int] = []
    with Subscriber({"/points": PointCloud2, "/clock": Clock}) as subscriber:
        played = play(bag, rate=2.0, loop=3, clock=True, topics=["/points"], wait_for=["/points"])
        until(lambda: len(subscriber.messages["/points"]) == 3 * FRAMES)
    for message in subscriber.messages["/clock"]:
        sec, nanosec = np.frombuffer(message, "<u4", 2, 4).tolist()
        clock.append(sec * SECOND + nanosec)
    assert played.published == Counter({"/points": 3 * FRAMES})
    assert subscriber.messages["/points"] == 3 * recorded(bag)["/points"]
    assert min(clock) == START_NS
    assert max(clock) == START_NS + (FRAMES - 1) * PERIOD_NS
    assert sum(np.diff(clock) < 0) == 2  # back to the start, twice
    assert len(clock) > 3 * FRAMES  # it ticks between the messages as well


def test_a_ros1_bag_is_played_in_ros2s_layout(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    header = types["std_msgs/msg/Header"](7, types["builtin_interfaces/msg/Time"](1, 2), "camera")
    info = types["sensor_msgs/msg/CameraInfo"](
        header, 4, 6, "plumb_bob", np.arange(5.0), np.arange(9.0), np.eye(3).reshape(9), np.arange(12.0), 0, 0,
        types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )  # fmt: skip
    image = types["sensor_msgs/msg/CompressedImage"](header, "jpeg", np.arange(10, dtype=np.uint8))
    with Writer(tmp_path / "old.bag") as writer:
        for topic, message in (("/info", info), ("/image", image)):
            connection = writer.add_connection(topic, message.__msgtype__, typestore=store)
            writer.write(connection, SECOND, store.serialize_ros1(message, message.__msgtype__))
    with Subscriber({"/info": CameraInfo, "/image": CompressedImage}) as subscriber:
        play(tmp_path / "old.bag", wait_for=["/info", "/image"])
        until(lambda: all(subscriber.messages.values()))
    got_info = deserialize_message(subscriber.messages["/info"][0], CameraInfo)
    assert (got_info.header.frame_id, got_info.header.stamp.sec, got_info.header.stamp.nanosec) == ("camera", 1, 2)
    assert (got_info.height, got_info.width, got_info.distortion_model) == (4, 6, "plumb_bob")
    np.testing.assert_array_equal(got_info.k, np.arange(9.0))
    np.testing.assert_array_equal(got_info.d, np.arange(5.0))
    np.testing.assert_array_equal(got_info.p, np.arange(12.0))
    got_image = deserialize_message(subscriber.messages["/image"][0], CompressedImage)
    assert got_image.format == "jpeg"
    assert bytes(got_image.data) == bytes(range(10))


def test_it_says_who_did_not_subscribe_and_what_it_cannot_play(bag: Path, tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"/points: not subscribed to by any node within 0\.5 s"):
        play(bag, wait_for=["/points"], wait_timeout=0.5)
    with pytest.raises(BagError, match="/nothing"):
        play(bag, wait_for=["/nothing"])
    with pytest.raises(BagError, match="nothing to publish"):
        play(bag, topics=["/nothing"])
    with pytest.raises(BagError, match="no such bag"):
        play(tmp_path / "none")
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BagError, match="rate"):
            play(bag, rate=rate)
    with pytest.raises(BagError, match="loop"):
        play(bag, loop=-1)
    (tmp_path / "broken").mkdir()
    with pytest.raises(BagError, match="broken"):
        play(tmp_path / "broken")


def test_it_can_be_stopped(bag: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.8, stop.set).start()
    played = play(bag, loop=0, stop=stop)
    assert played.stopped
    assert played.seconds < 5.0


def test_quality_of_service_is_the_recorded_one(bag: Path) -> None:
    with MessageReader(bag) as reader:
        profiles = {name: qos_of(topic) for name, topic in reader.topics.items()}
    assert profiles["/tf_static"].durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert profiles["/points"].durability == DurabilityPolicy.VOLATILE
    assert profiles["/points"].reliability == ReliabilityPolicy.RELIABLE
    unrecorded = Topic("/tf_static", "tf2_msgs/msg/TFMessage", 1, transient_local=False)
    assert qos_of(unrecorded).durability == DurabilityPolicy.TRANSIENT_LOCAL
    latched_in_ros1 = Topic("/map", "nav_msgs/msg/OccupancyGrid", 1, transient_local=True)
    assert qos_of(latched_in_ros1).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert message_class("sensor_msgs/msg/PointCloud2") is PointCloud2
    assert message_class("no_such_msgs/msg/Thing") is None
    assert message_class("sensor_msgs/msg/NoSuchThing") is None


def offered(**policies: Any) -> Qos:
    known = {"reliability": QosReliability.RELIABLE, "durability": QosDurability.VOLATILE, "depth": 1} | policies
    zero = QosTime(0, 0)
    return Qos(
        QosHistory.KEEP_LAST, known["depth"], known["reliability"], known["durability"], zero, zero,
        QosLiveliness.AUTOMATIC, zero, False,
    )  # fmt: skip


def test_where_profiles_differ_the_strongest_is_offered() -> None:
    """It matches every subscription that one of the recorded publishers matched."""
    best_effort = offered(reliability=QosReliability.BEST_EFFORT, depth=5)
    mixed = qos_of(Topic("/image", "sensor_msgs/msg/Image", 9, False, (best_effort, offered(depth=50))))
    assert (mixed.reliability, mixed.depth) == (ReliabilityPolicy.RELIABLE, 50)
    sensor = qos_of(Topic("/image", "sensor_msgs/msg/Image", 9, False, (best_effort, best_effort)))
    assert sensor.reliability == ReliabilityPolicy.BEST_EFFORT
    # Thirty latched broadcasters with one message each: a late subscriber gets all of them.
    latched = offered(durability=QosDurability.TRANSIENT_LOCAL)
    assert qos_of(Topic("/tf_static", "tf2_msgs/msg/TFMessage", 30, True, 30 * (latched,))).depth == 30
    endless = qos_of(Topic("/map", "nav_msgs/msg/OccupancyGrid", 10**6, True, (offered(depth=2**40),)))
    assert endless.depth == 1000


def test_latched_messages_reach_late_subscribers(tmp_path: Path) -> None:
    count = 30
    with BagWriter(tmp_path / "bag") as writer:
        text = writer.types["std_msgs/msg/String"]
        for place in range(count):
            writer.write("/notes", text(str(place)), START_NS + place, transient_local=True)
        writer.write("/end", text(""), START_NS + 6 * SECOND)
    stop = threading.Event()
    seen: list[str] = []
    with ThreadPoolExecutor(1) as pool, BackgroundSubscriber(seen) as subscriber:
        playing = pool.submit(play, tmp_path / "bag", stop=stop)
        time.sleep(1.5)
        subscriber.subscribe("/notes")
        until(lambda: len(seen) >= count)
        stop.set()
        assert playing.result().stopped
    assert seen == [str(place) for place in range(count)]


class BackgroundSubscriber(BackgroundNode):
    """Subscribes to latched text when it is told to."""

    name = "late"

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def _connect(self, node: Node) -> None:
        pass

    def subscribe(self, topic: str) -> None:
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node.create_subscription(String, topic, lambda message: self._seen.append(message.data), latched)


class ForeignClock(BackgroundNode):
    """A simulator's clock."""

    name = "simulator"

    def _connect(self, node: Node) -> None:
        self.publisher = node.create_publisher(Clock, "/clock", 10)
        message = Clock()
        message.clock.sec = 5
        node.create_timer(0.02, lambda: self.publisher.publish(message))


def clock_seconds(messages: list[bytes]) -> set[int]:
    return {deserialize_message(message, Clock).clock.sec for message in messages}


@pytest.fixture(scope="module")
def bag_with_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "simulated"
    with BagWriter(path) as writer:
        time_of, clock = writer.types["builtin_interfaces/msg/Time"], writer.types["rosgraph_msgs/msg/Clock"]
        for frame in range(FRAMES):
            stamp = START_NS + frame * PERIOD_NS
            writer.write("/clock", clock(time_of(77, frame)), stamp)
            points = np.zeros((3, 3), np.float32)
            writer.write_cloud("/points", stamp, "lidar", encode_cloud(dict(zip("xyz", points.T, strict=True))))
    return path


def test_the_bags_own_clock_is_the_only_one(bag_with_clock: Path) -> None:
    with Subscriber({"/points": PointCloud2, "/clock": Clock}) as subscriber:
        play(bag_with_clock, clock=True, wait_for=["/points", "/clock"])
        until(lambda: len(subscriber.messages["/points"]) == FRAMES and len(subscriber.messages["/clock"]) >= FRAMES)
    assert subscriber.messages["/clock"] == recorded(bag_with_clock)["/clock"]


@pytest.mark.parametrize("has_clock", [False, True])
def test_somebody_elses_clock_is_the_only_one(bag: Path, bag_with_clock: Path, has_clock: bool) -> None:

    def discovered() -> None:
        until(lambda: simulator.publisher.get_subscription_count() == 2)  # the player's and the subscriber's
        time.sleep(1.0)

    with ForeignClock() as simulator, Subscriber({"/points": PointCloud2, "/clock": Clock}) as subscriber:
        until(lambda: subscriber.messages["/clock"])
        played = play(bag_with_clock if has_clock else bag, clock=True, wait_for=["/points"], ready=discovered)
        until(lambda: len(subscriber.messages["/points"]) == FRAMES)
    assert clock_seconds(subscriber.messages["/clock"]) == {5}
    if has_clock:
        assert played.skipped["/clock"] == "somebody else publishes it"


def test_a_clock_that_comes_later_ends_the_players(context: Context, node: Node, drivers: Node, spin: Any) -> None:
    source = ClockSource(node, own=True)
    source.settle(bag_has_one=False)
    subscription = drivers.create_publisher(Clock, "/clock", 10)
    for step in range(5):
        source.tick(START_NS + step)
        spin(lambda: subscription.get_subscription_count())
    assert source.ticks  # its own time is not another's
    foreign = Clock()
    foreign.clock.sec = 5
    spin(lambda: subscription.publish(foreign) or not source.ticks)
    source.tick(START_NS)


def test_a_message_logged_at_time_zero_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        text = writer.types["std_msgs/msg/String"]
        for place, stamp in enumerate([0, START_NS, START_NS + SECOND // 2, 2**62]):
            writer.write("/notes", text(str(place)), stamp)
    played = play(tmp_path / "bag", clock=True)
    assert played.published == {"/notes": 4}
    assert 0.5 <= played.seconds < 5.0
    (line,) = (record.message for record in caplog.records if "leaps" in record.message)
    assert f"its time leaps by {START_NS / SECOND / 86400:.0f} days" in line


def test_a_bag_of_one_message_that_loops_is_no_flood(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/notes", writer.types["std_msgs/msg/String"]("once"), START_NS)
    stop = threading.Event()
    threading.Timer(1.5, stop.set).start()
    played = play(tmp_path / "bag", loop=0, stop=stop)
    assert played.stopped
    assert 1 < played.published["/notes"] < 16


def test_what_cannot_be_published_does_not_end_the_rest(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        text = writer.types["std_msgs/msg/String"]
        writer.write("/notes", text("before"), START_NS)
        writer.write("/notes", b"", START_NS + 1, msgtype="std_msgs/msg/String")
        writer.write("/notes", text("after"), START_NS + 2)
        writer.write("/camera/1/notes", text("a name that ROS 2 does not allow"), START_NS)
    played = play(tmp_path / "bag")
    assert played.published == {"/notes": 2}
    assert "0 bytes" in played.skipped["/notes"]
    assert "/camera/1/notes" in played.skipped
    with BagWriter(tmp_path / "empty") as writer:
        writer.write("/notes", b"", START_NS, msgtype="std_msgs/msg/String")
    with pytest.raises(BagError, match="no message of /notes can be published"):
        play(tmp_path / "empty", loop=0)
    for name in ("foxglove.Log", "", "../x/msg/Y", "std_msgs/msg/_string", "std_msgs/msg/"):
        assert message_class(name) is None


def test_the_recorder_keeps_what_it_hears_and_ends_by_itself(tmp_path: Path) -> None:
    rig = Rig()
    try:
        topics = {"/points": PointCloud2, "/side/image": CompressedImage}
        sent = []
        with Recorder(tmp_path / "recording", topics) as recorder:
            until(lambda: rig.publishers["points"].get_subscription_count(), 20.0)
            time.sleep(0.3)
            for place in range(5):
                sent.append(cloud_message(START_NS + place * SECOND, rig.points))
                rig.publishers["points"].publish(sent[-1])
            assert recorder.wait({"/points": 5}, timeout_s=20.0) == "complete"
            assert recorder.wait({"/points": 6}, idle_s=0.3, timeout_s=20.0) == "idle"
            assert recorder.wait({"/points": 6}, timeout_s=0.2) == "timeout"
            recorder._take("/points", PointCloud2, b"cut")  # as a broken publisher sends it
            assert recorder.counts["/points"] == 5
            assert not (tmp_path / "recording").exists()
        with AnyReader([tmp_path / "recording"]) as reader:
            found = list(reader.messages())
            clouds = [reader.deserialize(data, connection.msgtype) for connection, _, data in found]
        assert [timestamp for _, timestamp, _ in found] == [stamp_ns(message.header) for message in sent]
        for cloud, message in zip(clouds, sent, strict=True):
            assert as_bytes(cloud.data) == message.data
    finally:
        rig.close()


def test_a_recording_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "recording"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "taken").mkdir()
    with pytest.raises(BagError, match="taken"), Recorder(tmp_path / "taken"):
        pass
