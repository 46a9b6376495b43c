from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from node_support import SECOND, START_NS, cloud_message, make_config, make_statistics, random_points
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from sam_adapt_ros.nodes.diagnostics.segmenter_status import stream_status
from sam_adapt_ros.nodes.input.synchronizer import SensorSynchronizer, SynchronizedSweep

POINTS = random_points(3)


def message(stamp: int) -> Any:
    """Any message with a header will do as an image."""
    return cloud_message(stamp, POINTS)


def test_sweeps_get_their_images_and_wait_for_them_on_the_steady_clock(node: Node, spin: Any) -> None:
    config = make_config(Path("w"), Path("c"), ("front",), **{"cameras.front.time_offset": 0.01})
    sweeps: list[SynchronizedSweep] = []
    statistics = make_statistics()
    synchronizer = SensorSynchronizer(node, config, lambda match: (), sweeps.append, statistics)
    synchronizer.add_sweep(message(START_NS))
    synchronizer.add_image("front", message(START_NS - 10_000_000))
    assert sweeps[0].images["front"][0] == START_NS
    assert sweeps[0].arrival_ns <= sweeps[0].ready_ns <= time.monotonic_ns()
    synchronizer.add_sweep(message(START_NS + SECOND))  # and no image: the timer ends the wait
    spin(lambda: len(sweeps) == 2)
    assert sweeps[1].missing == ("front",)
    synchronizer.add_sweep(message(0))
    assert statistics.dropped == {"stamp_zero": 1}
    sync = config.sync.model_copy(update={"camera_timeout": 0.0})
    synchronizer.reconfigure(config.model_copy(update={"sync": sync}))
    synchronizer.add_sweep(message(START_NS + 2 * SECOND))
    assert len(sweeps) == 3
    assert synchronizer.counts["matched"] == 3
    assert synchronizer.counts["stamp_zero"] == 1
    assert statistics.frames_in == 4
    synchronizer.close()


def test_sweeps_then_wait_for_calibration_and_poses(node: Node, spin: Any) -> None:
    config = make_config(Path("w"), Path("c"), (), **{"transforms.timeout": 0.1})
    sweeps: list[SynchronizedSweep] = []
    statistics = make_statistics()
    lacking = [{"pose"}]
    synchronizer = SensorSynchronizer(node, config, lambda match: lacking[0], sweeps.append, statistics)
    synchronizer.add_sweep(message(START_NS))
    assert not sweeps
    lacking[0] = set()
    synchronizer.calibration_changed()
    assert len(sweeps) == 1
    lacking[0] = {"pose"}
    synchronizer.add_sweep(message(START_NS + SECOND))
    spin(lambda: len(sweeps) == 2)  # the timer ends this wait, too
    synchronizer.add_sweep(message(START_NS + 2 * SECOND))
    synchronizer.close()
    assert len(sweeps) == 2
    assert statistics.dropped == {"stopped": 1}


def test_a_camera_that_never_matches_stands_in_diagnostics(node: Node, spin: Any) -> None:
    config = make_config(Path("w"), Path("c"), ("front", "side"))
    statistics = make_statistics()
    synchronizer = SensorSynchronizer(node, config, lambda match: (), lambda sweep: None, statistics)
    for number in range(10):
        stamp = START_NS + number * SECOND // 10
        assert not statistics.notices
        synchronizer.add_image("front", message(stamp))
        synchronizer.add_image("side", message(stamp + 37 * SECOND))
        synchronizer.add_sweep(message(stamp))
    status = stream_status("segmenter", statistics, [], {}, synchronizer.counts)
    assert status.level == DiagnosticStatus.WARN
    assert "camera side: none of 10 sweeps" in status.message and "TAI" in status.message
    assert "front" not in status.message
    synchronizer.close()


def test_a_bag_played_slowly_loses_no_images(node: Node, spin: Any) -> None:
    """At a fifth of the speed, images that were recorded 50 ms after their sweep come 250 ms after it."""
    node.set_parameters([Parameter("use_sim_time", value=True)])
    config = make_config(Path("w"), Path("c"), ("front",), **{"transforms.timeout": 0.0})
    sweeps: list[SynchronizedSweep] = []
    synchronizer = SensorSynchronizer(node, config, lambda match: (), sweeps.append, make_statistics())
    begun, rate = time.monotonic(), 0.2
    clock = node.create_publisher(Clock, "/clock", 10)

    def played() -> int:
        """The bag's time, ns, which is published."""
        now = round((time.monotonic() - begun) * rate * SECOND)
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(START_NS + now, SECOND)
        clock.publish(message)
        return now

    spin(lambda: played() > SECOND // 10 and node.get_clock().now().nanoseconds > START_NS)
    for number in range(5):
        stamp = START_NS + SECOND + number * SECOND // 10
        at = played()
        synchronizer.add_sweep(message(stamp))
        spin(lambda at=at: played() - at > SECOND // 20)
        synchronizer.add_image("front", message(stamp))
        spin(lambda at=at: played() - at > SECOND // 10)
    assert len(sweeps) == 5
    assert [sweep.missing for sweep in sweeps] == [()] * 5
    assert min(sweep.ready_ns - sweep.arrival_ns for sweep in sweeps) > 0.2 * SECOND
    synchronizer.close()
