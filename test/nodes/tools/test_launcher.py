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
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_support import SECOND, START_NS, make_config, until
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import encode_cloud
from sam_adapt_ros.nodes import adapter_node
from sam_adapt_ros.nodes.diagnostics import diagnostic_messages
from sam_adapt_ros.nodes.launch_arguments import LaunchArguments
from sam_adapt_ros.nodes.tools import adapter_client
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode
from sam_adapt_ros.nodes.tools.launcher import play_to_nodes

FRAMES = 3


class Nodes(BackgroundNode):
    """A segmenter that only subscribes, and an adapter that only publishes its status."""

    name = "segmenter"

    def __init__(self) -> None:
        self.sweeps = 0
        self._status: dict[str, object] = {}

    def report(self, **values: object) -> None:
        self._status = values

    def _connect(self, node: Node) -> None:
        node.create_subscription(PointCloud2, "/points", self._take, 10)
        self._publisher = node.create_publisher(DiagnosticArray, "/car/adaptation/status", 10)
        node.create_timer(0.1, self._publish)

    def _publish(self) -> None:
        if self._status:
            status = diagnostic_messages.status(DiagnosticStatus.OK, "car/adapter: learning", "", self._status)
            self._publisher.publish(DiagnosticArray(status=[status]))

    def _take(self, message: PointCloud2) -> None:
        self.sweeps += 1


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as nodes:
        yield nodes


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
    nodes.report(phase="waiting")
    playing = play(bag, config, stop)
    try:
        until(lambda: "waiting for the adapter to open its store" in caplog.text, what="waits for it")
        assert not stop.wait(1.0)
        assert nodes.sweeps == 0
        nodes.report(phase="waiting", round=0, settled=0)
        until(lambda: nodes.sweeps == FRAMES, what="played")
        nodes.report(phase="labelling", round=0, settled=0)
        until(lambda: "sum up what it observed (labelling)" in caplog.text, what="waits for its round")
        assert not stop.wait(0.5)
        assert not playing.done()
        nodes.report(phase="watching", round=1, settled=1)
        until(playing.done, what="end")
    finally:
        stop.set()
    playing.result()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_silent_adapter_is_waited_for_only_so_long(
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
        nodes.report(phase="waiting", round=0)
        assert waiting.wait(10.0) == 0
    finally:
        waiting.kill()
