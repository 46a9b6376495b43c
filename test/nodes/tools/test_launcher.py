"""When ``sam-adapt run`` plays its bag, and when it ends."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_support import SECOND, START_NS, make_config, until
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import encode_cloud
from sam_adapt_ros.nodes import adapter_node
from sam_adapt_ros.nodes.diagnostics import diagnostic_messages
from sam_adapt_ros.nodes.tools import adapter_client
from sam_adapt_ros.nodes.tools.launch_arguments import LaunchArguments
from sam_adapt_ros.nodes.tools.launcher import play_to_nodes

FRAMES = 3


class Nodes:
    """A segmenter that only subscribes, and an adapter that only publishes its status."""

    def __init__(self) -> None:
        self.sweeps = 0
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("segmenter", namespace="/car", context=self._context, use_global_arguments=False)
        self._node.create_subscription(PointCloud2, "/points", self._take, 10)
        self._publisher = self._node.create_publisher(DiagnosticArray, "/car/adaptation/status", 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self._says: dict[str, object] = {}
        self._node.create_timer(0.1, self._speak)

    def say(self, **values: object) -> None:
        self._says = values

    def _speak(self) -> None:
        if self._says:
            status = diagnostic_messages.status(DiagnosticStatus.OK, "car/adapter: learning", "", self._says)
            self._publisher.publish(DiagnosticArray(status=[status]))

    def _take(self, message: PointCloud2) -> None:
        self.sweeps += 1

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.close()


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    with BagWriter(tmp_path / "drive") as writer:
        for frame in range(FRAMES):
            cloud = encode_cloud({axis: np.ones(5, np.float32) for axis in "xyz"})
            writer.write_cloud("/points", START_NS + frame * SECOND // 10, "lidar", cloud)
    return tmp_path / "drive"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Config:
    """Observes."""
    monkeypatch.setattr(adapter_node, "STREAM_END_S", 0.2)
    caplog.set_level(logging.INFO, "sam_adapt_ros")
    observing = {"adaptation.mode": "observe", "adaptation.store.folder": str(tmp_path / "store")}
    return make_config(tmp_path / "weights", tmp_path / "calibration", (), **observing)


def play(bag: Path, config: Config, stop: threading.Event) -> Future[None]:
    """In the background, until the adapter has summed it up."""
    arguments = LaunchArguments(bag=str(bag), namespace="/car")
    pool = ThreadPoolExecutor(1)
    playing = pool.submit(play_to_nodes, arguments, config, stop, until_settled=True)
    pool.shutdown(wait=False)
    return playing


def test_a_bag_that_is_observed_waits_for_the_adapter_at_both_ends(
    nodes: Nodes, bag: Path, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    nodes.say(phase="waiting")
    playing = play(bag, config, stop)
    try:
        until(lambda: "waiting for the adapter to open its store" in caplog.text, what="waits for it")
        assert not stop.wait(1.0)
        assert nodes.sweeps == 0
        nodes.say(phase="waiting", round=0, settled=0)
        until(lambda: nodes.sweeps == FRAMES, what="played")
        nodes.say(phase="labelling", round=0, settled=0)
        until(lambda: "sum up what it observed (labelling)" in caplog.text, what="waits for its round")
        assert not stop.wait(0.5)
        assert not playing.done()
        nodes.say(phase="watching", round=1, settled=1)
        until(playing.done, what="end")
    finally:
        stop.set()
    playing.result()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_adapter_that_says_nothing_is_not_waited_for_long(
    nodes: Nodes, bag: Path, config: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_client, "OPEN_TIMEOUT_S", 0.5)
    monkeypatch.setattr(adapter_client, "PHASE_TIMEOUT_S", 0.5)
    playing = play(bag, config, threading.Event())
    until(playing.done, what="end")
    assert nodes.sweeps == FRAMES
    assert "not opened its store within 0.5 s: the bag is played all the same" in caplog.text
    assert "(its store is not open), 0.5 s at most" in caplog.text
    assert "no progress for 0.5 s: it is stopped without a summary" in caplog.text


@pytest.mark.parametrize("values", [{"adaptation.mode": "source_free"}, {"adaptation.store.folder": ""}])
def test_other_bags_wait_for_no_adapter(
    nodes: Nodes, bag: Path, config: Config, caplog: pytest.LogCaptureFixture, values: dict[str, str]
) -> None:
    config = Config.from_flat({**config.to_flat(), **values})
    playing = play(bag, config, threading.Event())
    until(playing.done, what="end")
    assert nodes.sweeps == FRAMES
    assert "waiting for the adapter" not in caplog.text


def test_the_launch_waits_by_a_process_of_its_own(nodes: Nodes) -> None:
    waiting = subprocess.Popen(
        [sys.executable, "-m", "sam_adapt_ros.nodes.tools.adapter_client", "--namespace", "car", "--ros-args"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert waiting.stderr is not None
        assert "waiting for the adapter to open its store" in waiting.stderr.readline()
        assert waiting.poll() is None
        nodes.say(phase="waiting", round=0)
        assert waiting.wait(10.0) == 0
    finally:
        waiting.kill()
