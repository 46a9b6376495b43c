"""The segmenter node in a process of its own, over real DDS."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_support import (
    SECOND,
    Rig,
    as_bytes,
    cloud_message,
    image_message,
    jpeg_message,
    odometry_message,
    random_points,
    save_weights,
    stamped,
    until,
)
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, PointCloud2, PointField

from sam_adapt_ros.messages import read_labels, read_points, stamp_ns
from sam_adapt_ros.nodes.tools.node_process import NodeProcess
from sam_adapt_ros.taxonomy import Taxonomy

CLASSES = len(Taxonomy.load("town"))


def test_every_point_is_answered_at_the_sweeps_stamp_and_frame(rig: Rig) -> None:
    points = random_points(1234)
    points[7] = np.nan
    points[11, 2] = np.inf
    stamp = rig.tick()
    answer = rig.ask(stamp, points=points)
    assert answer.header.frame_id == "lidar"
    assert [f.name for f in answer.fields] == ["x", "y", "z", "rgb", "class_id", "probability"]
    answered, class_id, probability = read_labels(answer)
    np.testing.assert_array_equal(answered, points)
    odd = ~np.isfinite(points).all(axis=1)
    assert (class_id[odd] == 255).all()
    assert (class_id[~odd] < CLASSES).all()
    assert probability is not None
    assert ((probability[~odd] > 0) & (probability[~odd] <= 1)).all()


def test_diagnostics_account_for_every_frame(rig: Rig) -> None:
    for _ in range(3):
        rig.ask()
    report = rig.report()
    assert report["frames_in"] == report["frames_labelled"] + sum(report.get("dropped", {}).values())
    assert report["points"] > 0
    assert 0 < report["points_seen_by_camera"] < report["points"]
    assert report["latency_ms"]["total"]["p50"] >= report["latency_ms"]["model"]["p50"] > 0
    assert set(report["latency_ms"]["model"]) == {"p50", "p90", "p99"}
    assert len(report["version"]) >= 8
    assert report["device"] == "cpu"
    assert report["memory_mb"] > 50


def test_a_looping_bag_is_answered_round_after_round(rig: Rig) -> None:
    before = rig.report()["synchronizer"].get("clock_jump", 0)
    start = rig.tick()
    for _ in range(3):
        for place in range(15):
            rig.ask(start + place * SECOND // 10)
    rig.now = start + 2 * SECOND
    report = rig.report()
    assert report["synchronizer"]["clock_jump"] == before + 2
    assert sum(report.get("dropped", {}).values()) + report["frames_labelled"] == report["frames_in"]


def test_jumps_of_clock_and_stamps_lose_nothing(rig: Rig) -> None:
    dropped = rig.report().get("dropped", {})
    for seconds in (1000.0, 1000.1, 5.0, 5.1, 9000.0):  # /clock
        rig.send_clock(round(seconds * SECOND))
        rig.ask()
    for seconds in (3600.0, 0.1, -1800.0, 0.1, 0.1):  # the sensors' stamps
        rig.ask(rig.tick(seconds))
    report = rig.report()
    assert report.get("dropped", {}) == dropped
    assert report["warnings"]["clock_jump"] >= 1


def test_a_clock_that_no_ros_time_can_show_is_counted_and_labels_go_on(rig: Rig) -> None:
    before = rig.report().get("warnings", {})
    for sec, nanosec in ((-1, 0), (-(2**31), 5), (5, 0)):
        rig.publishers["clock"].publish(Clock(clock=Time(sec=sec, nanosec=nanosec)))
        rig.ask()
    after = rig.report()["warnings"]
    assert after["callback_ValueError"] == before.get("callback_ValueError", 0) + 2


def test_a_camera_that_dies_does_not_take_the_others_with_it(rig: Rig) -> None:
    before = rig.report()
    missing = before.get("camera_drops", {}).get("side", {}).get("no_image", 0)
    for _ in range(8):
        assert rig.ask(cameras=("front",)).width == len(rig.points)
    report = rig.report()
    assert report["camera_drops"]["side"]["no_image"] == missing + 8
    assert (
        report["synchronizer"]["camera_silent"]["side"]
        == before["synchronizer"].get("camera_silent", {}).get("side", 0) + 1
    )
    assert report.get("dropped", {}) == before.get("dropped", {})
    # It comes back: after a few sweeps its images are used again.
    for _ in range(5):
        rig.ask()
    missing = rig.report()["camera_drops"]["side"]["no_image"]
    for _ in range(3):
        rig.ask()
    assert rig.report()["camera_drops"]["side"]["no_image"] == missing


def test_without_any_image_the_points_are_labelled_all_the_same(rig: Rig) -> None:
    before = rig.report()
    _, class_id, _ = read_labels(rig.ask(cameras=()))
    assert (class_id < CLASSES).all()
    assert rig.report()["points_seen_by_camera"] == before["points_seen_by_camera"]


def _no_xyz(message: PointCloud2) -> None:
    message.fields = message.fields[:2]


def _row_step(message: PointCloud2) -> None:  # the data is not of whole rows, nor exactly that of all points
    message.row_step -= 4
    message.data = message.data[:-8]


def _point_step(message: PointCloud2) -> None:
    message.point_step = 1


def _short(message: PointCloud2) -> None:
    message.data = message.data[:-5]


def _empty(message: PointCloud2) -> None:
    message.width = message.row_step = 0
    message.data = as_bytes(np.zeros(0, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_no_xyz, "cloud_fields"),
        (_row_step, "cloud_layout"),
        (_point_step, "cloud_layout"),
        (_short, "cloud_layout"),
        (_empty, "cloud_empty"),
    ],
)
def test_a_malformed_cloud_is_dropped_with_its_reason(rig: Rig, spoil: object, reason: str) -> None:
    before = rig.dropped(reason)
    stamp = rig.tick()
    message = cloud_message(stamp, rig.points)
    spoil(message)  # type: ignore[operator]
    rig.send(stamp, points=message)
    rig.ask()
    assert stamp not in rig.labels
    assert rig.dropped(reason) == before + 1


def _big_endian(points: np.ndarray, stamp: int) -> PointCloud2:
    message = cloud_message(stamp, points)
    message.is_bigendian, message.data = True, as_bytes(points.astype(">f4"))
    return message


def _organized(points: np.ndarray, stamp: int) -> PointCloud2:
    message = cloud_message(stamp, points)
    rows = np.zeros((10, len(points) // 10 * 12 + 8), np.uint8)  # padded rows
    rows[:, :-8] = points.astype("<f4").view(np.uint8).reshape(10, -1)
    message.height, message.width, message.row_step = 10, len(points) // 10, rows.shape[1]
    message.data = as_bytes(rows)
    return message


def _float64(points: np.ndarray, stamp: int) -> PointCloud2:
    message = cloud_message(stamp, points)
    message.fields = [
        PointField(name=n, offset=8 * i, datatype=PointField.FLOAT64, count=1) for i, n in enumerate("xyz")
    ]
    message.point_step, message.row_step = 24, 24 * len(points)
    message.data = as_bytes(points.astype("<f8"))
    return message


@pytest.mark.parametrize("make", [_big_endian, _organized, _float64])
def test_unusual_clouds_are_understood(rig: Rig, make: object) -> None:
    stamp = rig.tick()
    answered, class_id, _ = read_labels(rig.ask(stamp, points=make(rig.points, stamp)))  # type: ignore[operator]
    np.testing.assert_array_equal(answered, rig.points)
    assert (class_id < CLASSES).all()


def test_unusable_images_are_left_out_and_the_sweep_goes_on(rig: Rig) -> None:
    before = rig.report().get("camera_drops", {})
    odd = np.zeros((33, 47, 3), np.uint8)

    def with_image(name: str, message: object) -> None:
        rig.publishers[name].publish(message)
        rig.ask(rig.now, cameras=tuple({"front", "side"} - {name}))

    unknown = image_message(rig.tick(), rig.image, "front_optical")
    unknown.encoding = "thermal17"
    with_image("front", unknown)
    with_image("front", image_message(rig.tick(), odd, "front_optical"))
    truncated = jpeg_message(rig.tick(), rig.image, "side_optical")
    truncated.data = truncated.data[: len(truncated.data) // 2]
    with_image("side", truncated)
    with_image("side", stamped(CompressedImage(format="jpeg"), rig.tick(), "side_optical"))
    with_image("front", image_message(rig.tick(), rig.image, "a_frame_nobody_knows"))
    after = rig.report()["camera_drops"]

    def count(name: str, reason: str) -> int:
        return after[name].get(reason, 0) - before.get(name, {}).get(reason, 0)

    assert count("front", "image_encoding") == 1
    assert count("front", "image_size") == 1
    assert count("side", "image_truncated") >= 1
    assert count("front", "transform_missing") == 1


def test_stamps_of_zero_and_stamps_that_go_back_are_dropped_by_name(rig: Rig) -> None:
    zero, back = rig.dropped("stamp_zero"), rig.dropped("out_of_order")
    rig.send(0)
    rig.ask()
    rig.publishers["points"].publish(cloud_message(rig.now - SECOND // 2, rig.points))
    rig.ask()
    assert rig.dropped("stamp_zero") == zero + 1
    assert rig.dropped("out_of_order") == back + 1


def test_odd_odometry_and_late_odometry(rig: Rig) -> None:
    broken = odometry_message(rig.tick())
    broken.pose.pose.orientation.w = 0.0
    rig.publishers["odom"].publish(broken)
    broken.pose.pose.position.x = float("nan")
    rig.publishers["odom"].publish(broken)
    rig.ask()
    # A pose that comes after its sweep, and none at all: the sweep waits a little, then goes on.
    stamp = rig.tick()
    rig.publishers["points"].publish(cloud_message(stamp, rig.points))
    time.sleep(0.03)
    rig.publishers["odom"].publish(odometry_message(stamp))
    until(lambda: stamp in rig.labels, 10.0, "labels after a late pose")
    stamp = rig.tick()
    rig.publishers["points"].publish(cloud_message(stamp, rig.points))
    until(lambda: stamp in rig.labels, 10.0, "labels without a pose")


def test_a_burst_beyond_capacity_is_counted_as_overload(rig: Rig) -> None:
    before = rig.report()
    points = random_points(20_000)
    for _ in range(15):
        rig.send(rig.tick(0.05), points=points)

    def settled() -> bool:
        report = rig.report()
        on_their_way = report["frames_in"] - report["frames_labelled"] - sum(report.get("dropped", {}).values())
        return report["frames_in"] > before["frames_in"] and on_their_way == 0

    until(settled, 20.0, "every frame accounted for")
    after = rig.report()
    assert after["frames_in"] == before["frames_in"] + 15
    assert after["dropped"].get("overload", 0) > before.get("dropped", {}).get("overload", 0)


def _set(rig: Rig, name: str, value: object) -> tuple[bool, str]:
    kinds = {
        bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
        int: (ParameterType.PARAMETER_INTEGER, "integer_value"),
        float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
        str: (ParameterType.PARAMETER_STRING, "string_value"),
    }
    kind, field = kinds[type(value)]
    parameter = Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))
    answer = rig.call(SetParameters, "/segmenter/set_parameters", SetParameters.Request(parameters=[parameter]))
    return answer.results[0].successful, answer.results[0].reason


def test_parameters_are_checked_by_the_schema_and_some_change_at_run_time(rig: Rig) -> None:
    assert _set(rig, "sync.camera_timeout", 0.2) == (True, "")
    accepted, reason = _set(rig, "sync.camera_timeout", -1.0)
    assert not accepted
    assert "sync.camera_timeout" in reason
    assert "greater than or equal to 0" in reason
    accepted, reason = _set(rig, "segmenter.device", "cuda")
    assert not accepted
    assert "only be set before" in reason
    accepted, reason = _set(rig, "segmenter.weights", "/no/such/file.safetensors")
    assert not accepted
    assert "/no/such/file.safetensors" in reason
    assert not _set(rig, "segmenter.no_such_thing", 1)[0]
    rig.ask()
    assert _set(rig, "sync.camera_timeout", 0.1)[0]


def test_weights_are_exchanged_between_two_frames(rig: Rig, weights: Path, tmp_path: Path) -> None:
    before = rig.report()
    other = save_weights(tmp_path / "other.safetensors", seed=1)
    assert _set(rig, "segmenter.weights", str(other))[0]
    deadline = time.monotonic() + 30
    while rig.report()["version"] == before["version"]:
        assert time.monotonic() < deadline
        rig.ask()  # the stream goes on meanwhile
    after = rig.report()
    assert after["swaps"] == before["swaps"] + 1
    assert after.get("dropped", {}) == before.get("dropped", {})
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(other.read_bytes()[:-100])
    assert _set(rig, "segmenter.weights", str(damaged))[0]
    time.sleep(1.0)
    rig.ask()
    assert rig.report()["version"] == after["version"]
    assert _set(rig, "segmenter.weights", str(weights))[0]


def test_branches_and_overlays_are_published_for_subscribers(rig: Rig) -> None:
    seen: dict[str, object] = {}
    subscriptions = [
        rig.node.create_subscription(kind, topic, lambda m, t=topic: seen.setdefault(t, m), 10)
        for topic, kind in {
            "/segmenter/labels_2d": PointCloud2,
            "/segmenter/labels_3d": PointCloud2,
            "/segmenter/overlay/front/compressed": CompressedImage,
        }.items()
    ]
    try:
        deadline = time.monotonic() + 20
        while len(seen) < 3:
            assert time.monotonic() < deadline, seen.keys()
            rig.ask()
    finally:
        for subscription in subscriptions:
            rig.node.destroy_subscription(subscription)
    _, by_image, _ = read_labels(seen["/segmenter/labels_2d"])
    _, by_points, _ = read_labels(seen["/segmenter/labels_3d"])
    assert 0 < (by_image != 255).sum() < len(rig.points)
    assert (by_points < CLASSES).all()
    overlay = seen["/segmenter/overlay/front/compressed"]
    assert bytes(overlay.data[:2]) == b"\xff\xd8"  # type: ignore[attr-defined]
    assert overlay.header.frame_id == "front_optical"  # type: ignore[attr-defined]
    assert stamp_ns(overlay.header) in rig.labels  # type: ignore[attr-defined]


def _change(rig: Rig, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return rig.call(ChangeState, "/segmenter/change_state", request, 60.0).success


def test_a_camera_of_another_clock_is_named_in_diagnostics_until_it_is_right(rig: Rig) -> None:
    for _ in range(12):
        stamp = rig.tick()
        rig.publishers["front"].publish(image_message(stamp + 37 * SECOND, rig.image, "front_optical"))
        rig.ask(stamp, cameras=("side",))
    notice = rig.report()["notices"]["camera_sync:front"]
    assert "of another clock" in notice and "TAI" in notice and "cameras.front.time_offset to -37.0" in notice
    for _ in range(20):
        rig.ask()
    assert "camera_sync:front" not in rig.report().get("notices", {})


def test_a_lifecycle_manager_may_take_over(rig: Rig) -> None:
    assert rig.call(GetState, "/segmenter/get_state", GetState.Request()).current_state.label == "active"
    assert _change(rig, Transition.TRANSITION_DEACTIVATE)
    stamp = rig.tick()
    rig.send(stamp)
    time.sleep(0.5)
    assert stamp not in rig.labels
    assert _change(rig, Transition.TRANSITION_CLEANUP)
    assert _set(rig, "segmenter.fusion", "mean")[0]
    assert _change(rig, Transition.TRANSITION_CONFIGURE)
    assert _change(rig, Transition.TRANSITION_ACTIVATE)
    rig.wait_for_segmenter()
    rig.ask(timeout=30.0)


def test_a_thousand_frames_lose_nothing_and_leave_no_memory_behind(rig: Rig) -> None:
    # Other processes may take this machine's cores for a moment: then frames wait instead of being dropped, here and,
    # so that no backlog is taken for a leak, at the sensor.
    assert _set(rig, "segmenter.queue_size", 100)[0]
    before, memory = rig.report(), 0.0
    stamps = []
    start = time.monotonic()
    for place in range(1000):
        stamps.append(rig.tick(0.05))
        rig.send(stamps[-1])
        if place == 300:
            memory = rig.diagnostics["memory_mb"]
        time.sleep(max(0.0, start + (place + 1) * 0.03 - time.monotonic()))
        until(partial(rig.labels.__contains__, stamps[max(0, place - 20)]), 30.0, f"an answer before frame {place}")
    until(lambda: all(stamp in rig.labels for stamp in stamps), 120.0, "a thousand answers")
    assert list(filter(set(stamps).__contains__, rig.labels)) == stamps  # in order
    after = rig.report()
    assert after["frames_labelled"] == before["frames_labelled"] + 1000
    assert after.get("dropped", {}) == before.get("dropped", {})
    assert after["memory_mb"] <= 1.01 * memory
    for stamp in stamps:
        assert len(read_points(rig.labels[stamp])) == len(rig.points)
    assert _set(rig, "segmenter.queue_size", 2)[0]


def test_the_log_names_what_was_waited_for(rig: Rig, segmenter: NodeProcess) -> None:
    log = segmenter.log_path.read_text()  # type: ignore[attr-defined]
    assert "waiting for" in log
    assert "/points" in log
    assert "all inputs are received" in log
    assert "sensor_msgs/msg/CompressedImage, best effort" in log
    assert "sensor_msgs/msg/Image, reliable" in log
    assert "Traceback" not in log
