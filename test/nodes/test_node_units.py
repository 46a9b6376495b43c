"""The parts of the nodes one by one, in process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from hypothesis import given
from hypothesis import strategies as st
from node_support import (
    SECOND,
    START_NS,
    cloud_message,
    make_config,
    odometry_message,
    random_points,
    save_weights,
    until,
)
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError, WeightsError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.messages import FrameAssembler, Match, read_labels
from sam_adapt_ros.nodes import fastdds as dds
from sam_adapt_ros.nodes.diagnostics import segmenter_status as diagnostics
from sam_adapt_ros.nodes.diagnostics.stream_statistics import Statistics
from sam_adapt_ros.nodes.input import message_filters as filters
from sam_adapt_ros.nodes.input import transform_listener as extrinsics
from sam_adapt_ros.nodes.input.calibration_wait import PATIENCE, Gate
from sam_adapt_ros.nodes.input.deadline_timer import DeadlineTimer
from sam_adapt_ros.nodes.input.subscriptions import TopicFilter, type_name
from sam_adapt_ros.nodes.input.synchronizer import LidarSynchronizer
from sam_adapt_ros.nodes.input.work_queue import Worker
from sam_adapt_ros.nodes.parameters import CHANGEABLE, Parameters
from sam_adapt_ros.nodes.segmenter.hot_swap import Model
from sam_adapt_ros.nodes.segmenter.publishers import byte_array, label_cloud, topic_token
from sam_adapt_ros.nodes.tools.node_process import parameter_file
from sam_adapt_ros.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def node(context: Context) -> Iterator[Node]:
    node = Node("unit", context=context, use_global_arguments=False)
    yield node
    node.destroy_node()


@pytest.fixture
def drivers() -> Iterator[Node]:
    """A node in a context, and so a DDS participant, of its own."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("drivers", context=context, use_global_arguments=False)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.fixture
def spin(node: Node, context: Context) -> Iterator[Any]:
    """Spins the node until a condition holds."""
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin(condition: Any, timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline
            executor.spin_once(timeout_sec=0.02)

    yield spin
    executor.remove_node(node)
    executor.shutdown()


# Worker ---------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 4))
def test_worker_answers_or_drops_every_item_in_order(pauses: list[int], size: int) -> None:
    done: list[int] = []
    dropped: list[tuple[int, str]] = []
    release = threading.Semaphore(0)

    def process(item: int) -> None:
        release.acquire()
        done.append(item)

    worker = Worker(process, size, lambda item, reason: dropped.append((item, reason)), lambda item, error: None)
    for item, pause in enumerate(pauses):
        worker.put(item)
        for _ in range(pause):
            release.release()
    for _ in range(len(pauses)):
        release.release()
    worker.stop()
    assert sorted(done + [item for item, _ in dropped]) == list(range(len(pauses)))
    assert done == sorted(done)
    assert {reason for _, reason in dropped} <= {"overload", "stopped"}


def test_worker_keeps_the_newest_and_survives_errors() -> None:
    started, go = threading.Event(), threading.Event()
    done: list[int] = []
    dropped: list[tuple[int, str]] = []
    errors: list[tuple[int, str]] = []

    def process(item: int) -> None:
        started.set()
        go.wait(5.0)
        if item == 0:
            raise ValueError("zero")
        done.append(item)

    worker = Worker(process, 2, lambda i, r: dropped.append((i, r)), lambda i, e: errors.append((i, str(e))))
    worker.put(0)
    assert started.wait(5.0)
    for item in (1, 2, 3, 4):
        worker.put(item)
    go.set()
    until(lambda: done == [3, 4], 5.0)
    assert worker.stop()
    worker.put(5)
    assert dropped == [(1, "overload"), (2, "overload"), (5, "stopped")]
    assert errors == [(0, "zero")]


# Gate -----------------------------------------------------------------------------------------------------------------


def _match(number: int) -> Match:
    return Match(number, None, {}, ())


def test_gate_waits_for_what_may_come_keeps_the_order_and_loses_patience() -> None:
    missing = {1, 2}
    out: list[int] = []
    gate = Gate(lambda match: match.stamp_ns in missing, timeout_s=0.1)
    gate.registerCallback(lambda match: out.append(match.stamp_ns))
    gate.add(_match(1), now_ns=0)
    gate.add(_match(2), now_ns=10)
    gate.add(_match(3), now_ns=20)
    assert out == []
    assert gate.deadline() == 100_000_000
    missing.discard(1)
    gate.news(30)
    assert out == [1]
    assert gate.deadline() == 100_000_010
    gate.poll(100_000_009)
    assert out == [1]
    gate.poll(100_000_010)
    assert out == [1, 2, 3]
    assert gate.deadline() is None
    missing.update(range(10, 20))
    for number in range(10, 10 + PATIENCE - 1):  # one wait was in vain already
        gate.add(_match(number), now_ns=SECOND)
        gate.poll(2 * SECOND)
    gate.add(_match(15), now_ns=3 * SECOND)
    assert out[-1] == 15, "no more waiting for what never comes"
    gate.news(4 * SECOND)
    gate.add(_match(16), now_ns=4 * SECOND)
    assert out[-1] == 15, "waiting again, for something came"
    assert [match.stamp_ns for match in gate.clear()] == [16]
    assert gate.deadline() is None


# Statistics and diagnostics -------------------------------------------------------------------------------------------


def test_statistics_come_out_of_diagnostics_as_they_went_in() -> None:
    statistics = Statistics()
    for place in range(101):
        statistics.arrived()
        statistics.labelled(10, 4, {"model": place * 1e-3, "total": place * 2e-3})
    statistics.arrived()
    statistics.drop("overload")
    statistics.drop_image("front", "image_size")
    statistics.warn("clock_jump")
    assert statistics.latency_ms()["model"] == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    statuses = [
        diagnostics.stream_status("ns/segmenter", statistics, [], {"overload": 1}, {"camera_silent.front": 2}),
        diagnostics.latency_status("ns/segmenter", statistics),
        diagnostics.model_status("ns/segmenter", None, "w.safetensors"),
    ]
    message = diagnostics.diagnostic_array(odometry_message(START_NS).header.stamp, statuses)
    read = diagnostics.read_diagnostics(message, "ns/segmenter")
    assert (read["frames_in"], read["frames_labelled"], read["points"], read["points_seen_by_camera"]) == (
        102,
        101,
        1010,
        404,
    )
    assert read["dropped"] == {"overload": 1}
    assert read["camera_drops"] == {"front": {"image_size": 1}}
    assert read["warnings"] == {"clock_jump": 1}
    assert read["synchronizer"] == {"camera_silent": {"front": 2}}
    assert read["latency_ms"] == statistics.latency_ms()
    assert read["weights"] == "w.safetensors"
    assert read["memory_mb"] > 0
    assert "1 overload" in statuses[0].message
    assert diagnostics.read_diagnostics(message, "other") == {}
    waiting = diagnostics.stream_status("segmenter", statistics, ["/points (no publisher)"], {}, {})
    assert waiting.message == "waiting for /points (no publisher)"
    assert waiting.level == b"\x01"


def test_rates_are_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sam_adapt_ros.nodes.diagnostics.stream_statistics.time.monotonic", lambda: now[0])
    statistics = Statistics()
    for _ in range(11):
        statistics.arrived()
        now[0] += 0.1
    assert statistics.rates() == {"frames_in_hz": pytest.approx(10.0, abs=0.01), "fps": 0.0}
    now[0] += 60.0
    assert statistics.rates()["frames_in_hz"] == 0.0


# Filters and inputs ---------------------------------------------------------------------------------------------------


def test_filters_pass_messages_with_their_arguments() -> None:
    seen: list[Any] = []
    source = filters.SimpleFilter()
    source.registerCallback(lambda *arguments: seen.append(arguments), "a", 1)
    source.registerCallback(lambda message: seen.append(message))
    source.signalMessage("m")
    assert seen == [("m", "a", 1), "m"]


def test_topic_filter_follows_type_and_reliability(node: Node, drivers: Node, spin: Any) -> None:
    seen: list[Any] = []
    errors: list[tuple[str, Exception]] = []
    lost: list[tuple[str, int]] = []
    topic = TopicFilter(
        node, "/camera", [Image, CompressedImage], lambda *a: errors.append(a), lambda *a: lost.append(a)
    )
    topic.registerCallback(seen.append)
    topic.follow()
    assert topic.waiting_for == "/camera (no publisher)"
    wrong = drivers.create_publisher(PointCloud2, "/camera", 1)
    spin(lambda: node.count_publishers("/camera"))
    topic.follow()
    assert "sensor_msgs/msg/Image or sensor_msgs/msg/CompressedImage expected" in topic.waiting_for
    drivers.destroy_publisher(wrong)
    reliable = drivers.create_publisher(CompressedImage, "/camera", 10)

    def published(publisher: Any, message: Any) -> None:
        spin(lambda: topic.follow() or publisher.get_subscription_count())
        count = len(seen)
        publisher.publish(message)
        spin(lambda: len(seen) > count)

    published(reliable, CompressedImage(format="jpeg"))
    assert seen[-1].format == "jpeg"
    assert topic.waiting_for == ""
    (subscription,) = (s for s in node.subscriptions if s.topic_name == "/camera")
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    # A best-effort sensor joins: a reliable subscription would never hear it.
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
    topic.registerCallback(lambda message: 1 / 0)
    published(raw, Image(encoding="rgb8"))
    assert isinstance(errors[-1][1], ZeroDivisionError)
    topic._lost(type("Event", (), {"total_count_change": 3})())
    assert lost == [("/camera", 3)]
    topic.close()
    assert not [s for s in node.subscriptions if s.topic_name == "/camera"]


def test_type_names() -> None:
    assert type_name(Image) == "sensor_msgs/msg/Image"


def test_deadline_timer_calls_once_and_can_be_moved(node: Node, spin: Any) -> None:
    calls: list[int] = []
    timer = DeadlineTimer(node, lambda: calls.append(time.monotonic_ns()))
    start = time.monotonic_ns()
    timer.arm(start + SECOND // 10)
    timer.arm(start + SECOND // 20)
    spin(lambda: calls)
    assert calls[0] - start >= SECOND // 20
    with pytest.raises(AssertionError):
        spin(lambda: len(calls) > 1, timeout=0.2)
    timer.arm(time.monotonic_ns() - SECOND)  # overdue
    spin(lambda: len(calls) == 2)
    timer.arm(time.monotonic_ns() + SECOND // 20)
    timer.arm(None)
    with pytest.raises(AssertionError):
        spin(lambda: len(calls) > 2, timeout=0.2)
    timer.close()


def test_synchronizer_composes_with_filters_and_times_out(node: Node, spin: Any) -> None:
    config = make_config(Path("w"), Path("c"), ("front",)).sync
    lidar, front = filters.SimpleFilter(), filters.SimpleFilter()
    matches: list[Match] = []
    drops: list[tuple[str, int]] = []
    synchronizer = LidarSynchronizer(
        node, lidar, {"front": front}, {"front": 0.01}, config, lambda *drop: drops.append(drop)
    )
    synchronizer.registerCallback(matches.append)
    points = random_points(3)
    lidar.signalMessage(cloud_message(START_NS, points))
    front.signalMessage(cloud_message(START_NS - 10_000_000, points))  # any message with a header will do
    spin(lambda: matches)
    assert matches[0].images["front"][0] == START_NS
    assert matches[0].sweep.arrival_ns <= time.monotonic_ns()
    lidar.signalMessage(cloud_message(START_NS + SECOND, points))  # and no image: the steady clock ends the wait
    spin(lambda: len(matches) == 2)
    assert matches[1].missing == ("front",)
    lidar.signalMessage(cloud_message(0, points))
    assert drops == [("stamp_zero", 0)]
    synchronizer.reconfigure(config.model_copy(update={"camera_timeout": 0.0}))
    lidar.signalMessage(cloud_message(START_NS + 2 * SECOND, points))
    spin(lambda: len(matches) == 3)
    assert synchronizer.counts["matched"] == 3
    assert synchronizer.counts["stamp_zero"] == 1
    synchronizer.close()


def test_tf_is_used_where_its_messages_exist(
    node: Node, spin: Any, calibration: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    news: list[None] = []

    def make(**values: object) -> tuple[extrinsics.Extrinsics, FrameAssembler]:
        config = make_config(weights, calibration, ("front",), **values)
        assembler = FrameAssembler(config)
        return extrinsics.Extrinsics(node, config, assembler, lambda: news.append(None), lambda *a: None), assembler

    monkeypatch.setattr(extrinsics, "TFMessage", None)
    without, _ = make(**{"transforms.calibration_file": ""})
    assert [t.topic for t in without.topics] == ["/odom"] or without.topics == []
    assert "calibration" in without.waiting_for[0]
    from_file, assembler = make()
    assert [t.topic for t in from_file.topics] == ["/odom"]
    assert "/odom" in from_file.waiting_for[0]
    assert assembler.tree.lookup("base_link", "lidar", 0)[2, 3] == pytest.approx(1.8)
    # Stands in for tf2_msgs/TFMessage, whose wheel does not exist.
    monkeypatch.setattr(extrinsics, "TFMessage", PointCloud2)
    with_tf, _ = make(**{"transforms.calibration_file": ""})
    assert [t.topic for t in with_tf.topics] == ["/tf", "/tf_static"]
    assert with_tf.waiting_for == ["the first transform on /tf or /tf_static"]
    both, _ = make()
    assert [t.topic for t in both.topics] == ["/tf", "/tf_static", "/odom"]


# Parameters -----------------------------------------------------------------------------------------------------------


def _parameter_node(context: Context, **values: Any) -> tuple[Node, Parameters]:
    overrides = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
    node = Node(
        "parameters",
        context=context,
        use_global_arguments=False,
        parameter_overrides=overrides,
        automatically_declare_parameters_from_overrides=True,
    )
    return node, Parameters(node)


def test_parameters_are_the_schema_by_flat_names(context: Context) -> None:
    node, parameters = _parameter_node(
        context, taxonomy="town", cameras__left__image="/left", sync__camera_timeout=1, use_sim_time=True
    )
    try:
        assert parameters.config.cameras["left"].image == "/left"
        assert parameters.config.sync.camera_timeout == 1.0  # 1 was meant as 1.0
        for name, value in parameters.config.to_flat().items():
            assert node.get_parameter(name).value == value, name
        assert set(parameters.config.to_flat()) >= CHANGEABLE
        applied: list[set[str]] = []
        parameters.apply = lambda config, changed: applied.append(changed)

        def put(name: str, value: Any) -> str:
            (result,) = node.set_parameters([Parameter(name, value=value)])
            return "" if result.successful else result.reason

        assert put("sync.camera_timeout", 0.25) == ""
        assert put("sync.camera_timeout", 0.25) == ""  # no change, nothing to apply
        assert applied == [{"sync.camera_timeout"}]
        assert parameters.config.sync.camera_timeout == 0.25
        assert "greater than 0" in put("segmenter.diagnostics_period", 0.0)
        assert "'mean'" in put("segmenter.fusion", "median")
        assert put("cameras.left.image", "/other") == ""  # the node is not configured yet
        parameters.fixed_by = "can only be set before the node is configured"
        assert "cameras.left.image: can only be set" in put("cameras.left.image", "/left")
        assert put("use_sim_time", False) == ""

        def refuse(config: Config, changed: set[str]) -> None:
            raise ConfigError("not today")

        parameters.apply = refuse
        assert put("segmenter.fusion", "mean") == "not today"
        assert parameters.config.segmenter.fusion == "product"
        assert node.get_parameter("segmenter.fusion").value == "product"
    finally:
        node.destroy_node()


def test_parameters_describe_themselves(context: Context) -> None:
    node, parameters = _parameter_node(context, cameras__left__image="/left")
    try:
        for name in parameters.config.to_flat():
            assert node.describe_parameter(name).description, name
        timeout, nice, share = map(
            node.describe_parameter,
            ("sync.camera_timeout", "adaptation.resources.nice", "adaptation.buffer.held_out"),
        )
        assert timeout.description.endswith("[s]") and timeout.additional_constraints == "at least 0"
        assert [(r.from_value, r.to_value) for r in nice.integer_range] == [(0, 19)]
        assert [(r.from_value, r.to_value) for r in share.floating_point_range] == [(0.0, 0.5)]
        assert "topic" in node.describe_parameter("cameras.left.image").description
        (result,) = node.set_parameters([Parameter("adaptation.resources.nice", value=20)])
        assert not result.successful and "adaptation.resources.nice" in result.reason and "20" in result.reason
    finally:
        node.destroy_node()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"segmenter__devise": "cpu"}, "segmenter.devise"),
        ({"sync__queue_size": 0}, "sync.queue_size"),
        ({"cameras__left__info": "/info"}, "cameras.left.image"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(context: Context, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        _parameter_node(context, **values)


def test_parameter_files_and_calibration_of_a_bag(tmp_path: Path) -> None:
    config = make_config(Path("/w"), Path(), ("front",))
    content = yaml.safe_load(yaml.safe_dump(parameter_file(config)))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    assert Config.load(str(path)) == config


# Model and outputs ----------------------------------------------------------------------------------------------------


def test_model_exchanges_only_between_frames_and_only_for_what_loads(weights: Path, tmp_path: Path) -> None:
    config = make_config(weights, Path(), ())
    model = Model(config)
    first = model.take()
    said: list[str] = []
    other = make_config(save_weights(tmp_path / "other.safetensors", seed=3), Path(), ())
    model.replace(other, said.append).result(30.0)
    assert model.current is first, "not in the middle of a frame"
    second = model.take()
    assert second.version != first.version
    assert (model.swaps, said) == (1, [""])
    data = bytearray(weights.read_bytes())
    data[-40] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(data)
    (tmp_path / "short.safetensors").write_bytes(weights.read_bytes()[:-1000])
    for name in ("flipped", "short", "none"):
        model.replace(make_config(tmp_path / f"{name}.safetensors", Path(), ()), said.append).result(30.0)
        assert name in said[-1]
        assert model.take() is second
        assert name in model.problem
    foreign = make_config(save_weights(tmp_path / "foreign.safetensors", taxonomy="nuscenes6"), Path(), (), taxonomy="")
    model.replace(foreign, said.append).result(30.0)
    assert "classes" in said[-1]
    assert model.take() is second
    with pytest.raises(WeightsError, match="taxonomy"):
        Model(make_config(tmp_path / "foreign.safetensors", Path(), ()))


def test_label_cloud_and_names() -> None:
    taxonomy = Taxonomy.load("town")
    points = random_points(50)
    points[3] = np.nan
    class_id = np.arange(50, dtype=np.uint8) % len(taxonomy)
    message = label_cloud(Frame(START_NS + 5, "lidar", points), class_id, np.full(50, 0.5, np.float32), taxonomy)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(START_NS + 5, SECOND)
    assert message.row_step == message.point_step * message.width == len(message.data)
    assert not message.is_dense
    answered, classes, probability = read_labels(message)
    np.testing.assert_array_equal(answered, points)
    np.testing.assert_array_equal(classes, class_id)
    assert (probability == 0.5).all()
    assert byte_array(np.arange(3, dtype="<u2")).tobytes() == b"\0\0\1\0\2\0"
    assert topic_token("CAM_FRONT") == "CAM_FRONT"
    assert topic_token("front-left 2") == "front_left_2"
    assert topic_token("0") == "camera_0"


def test_the_dds_profile_is_named_unless_the_user_names_one() -> None:
    environment: dict[str, str] = {}
    dds.use_profile(environment)
    assert set(environment) == set(dds.PROFILE_VARIABLES)
    assert all(Path(path).is_file() for path in environment.values())
    own = {"FASTRTPS_DEFAULT_PROFILES_FILE": "/own.xml"}
    dds.use_profile(own)
    assert own == {"FASTRTPS_DEFAULT_PROFILES_FILE": "/own.xml"}
