"""When ``sam-adapt run`` plays its bag, and when it ends."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_support import SECOND, START_NS, make_config, until
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.messages import encode_cloud
from sam_adapt_ros.nodes import adapter_node
from sam_adapt_ros.nodes.diagnostics import diagnostic_messages
from sam_adapt_ros.nodes.launch_arguments import observes
from sam_adapt_ros.nodes.tools import adapter_client, launcher, segmenter_client
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode
from sam_adapt_ros.nodes.tools.bag_playback import play_to_nodes

FRAMES = 3


class Nodes(BackgroundNode):
    """A segmenter and an adapter that only subscribe, like the real ones not before they see a publisher, and an
    adapter's status. sweeps: how many have come, by node."""

    name = "clock"

    def __init__(self) -> None:
        self.sweeps = {"segmenter": 0, "adapter": 0}
        self._status: dict[str, object] = {}
        self._nodes: dict[str, Node] = {}
        self._delays = {"segmenter": 5, "adapter": 15}

    def report(self, **values: object) -> None:
        self._status = values

    def __enter__(self) -> Nodes:
        super().__enter__()
        for node in self._nodes.values():
            self._executor.add_node(node)
        return self

    def __exit__(self, *error: Any) -> None:
        self._executor.shutdown(timeout_sec=5.0)
        for node in self._nodes.values():
            node.destroy_node()
        super().__exit__(*error)

    def _connect(self, node: Node) -> None:
        for name in self.sweeps:
            self._nodes[name] = Node(name, namespace="car", context=self._context, use_global_arguments=False)
        self._publisher = node.create_publisher(DiagnosticArray, "/car/adaptation/status", 10)
        node.create_timer(0.1, self._publish)
        node.create_timer(0.1, self._subscribe)

    def _publish(self) -> None:
        if self._status:
            status = diagnostic_messages.status(DiagnosticStatus.OK, "car/adapter: learning", "", self._status)
            self._publisher.publish(DiagnosticArray(status=[status]))

    def _subscribe(self) -> None:
        for name, node in self._nodes.items():
            if node.count_publishers("/points") and (ticks := self._delays.pop(name, -1)) >= 0:
                if ticks:
                    self._delays[name] = ticks - 1
                else:
                    node.create_subscription(PointCloud2, "/points", partial(self._take, name), 10)

    def _take(self, name: str, message: PointCloud2) -> None:
        self.sweeps[name] += 1


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
    adapts = bool(config.adaptation.store.folder)
    pool = ThreadPoolExecutor(1)
    playing = pool.submit(play_to_nodes, str(bag), "/points", "/car", adapts, observes(config), stop)
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
        assert not any(nodes.sweeps.values())
        nodes.report(phase="waiting", round=0, settled=0)
        until(lambda: set(nodes.sweeps.values()) == {FRAMES}, what="played")
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
    assert nodes.sweeps["segmenter"] == FRAMES
    assert "not opened its store within 0.5 s: the bag is played all the same" in caplog.text
    assert "(its store is not open), 0.5 s at most" in caplog.text
    assert "no progress for 0.5 s: it is stopped without a summary" in caplog.text


def test_a_bag_that_is_learned_from_waits_for_the_adapter_too(nodes: Nodes, bag: Path, config: Config) -> None:
    config = Config.from_flat({**config.to_flat(), "adaptation.mode": "source_free"})
    nodes.report(phase="waiting", round=0)
    playing = play(bag, config, threading.Event())
    until(playing.done, what="end, without a summary")
    until(lambda: set(nodes.sweeps.values()) == {FRAMES}, 5.0, "from the first sweep on, to both")


def test_without_an_adapter_only_the_segmenter_is_waited_for(
    nodes: Nodes, bag: Path, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config.from_flat({**config.to_flat(), "adaptation.store.folder": ""})
    playing = play(bag, config, threading.Event())
    until(playing.done, what="end")
    assert nodes.sweeps["segmenter"] == FRAMES
    assert "waiting for the adapter" not in caplog.text


@pytest.mark.parametrize("labelled", [0, 3])
def test_a_bag_of_which_no_sweep_is_labelled_fails(
    bag: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, labelled: int
) -> None:
    """The segmenter reports what came of the sweeps once they have been played."""
    monkeypatch.setattr(segmenter_client, "PATIENCE_S", 3.0)

    class Reporter(BackgroundNode):
        name = "reporter"

        def _connect(self, node: Node) -> None:
            self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

        def report(self) -> None:
            until(lambda: self._publisher.get_subscription_count() > 0, what="subscribed")
            values = {"frames_in": 3, "frames_labelled": labelled, "dropped": {"cloud_fields": 3 - labelled}}
            for name, value in (("car/segmenter", values), ("other/segmenter", {"frames_labelled": 7})):
                status = diagnostic_messages.status(DiagnosticStatus.OK, f"{name}: stream", "", value)
                self._publisher.publish(DiagnosticArray(status=[status]))

    stop = threading.Event()
    with Reporter() as reporter:
        if labelled:
            launcher.play_and_check(reporter.report, str(bag), "/car", stop, True)
            return
        with pytest.raises(BagError, match=r"drive: no sweep was labelled: 3 came .* dropped: cloud_fields 3$"):
            launcher.play_and_check(reporter.report, str(bag), "/car", stop, True)
        launcher.play_and_check(reporter.report, str(bag), "/car", stop, False)
    assert f"{bag}: no sweep was labelled: 3 came" in caplog.text


def test_the_launch_plays_by_a_process_of_its_own(nodes: Nodes, bag: Path) -> None:
    command = [sys.executable, "-m", "sam_adapt_ros.nodes.tools.bag_playback", str(bag), "--adapts"]
    command += ["--lidar-topic", "/points", "--namespace", "/car"]
    playing = subprocess.Popen([*command, "--ros-args", "-r", "__ns:=/car"], stderr=subprocess.PIPE, text=True)
    try:
        assert playing.stderr is not None
        lines = []
        while not (lines and "waiting for the adapter to open its store" in lines[-1]):
            lines.append(playing.stderr.readline())
            assert lines[-1], lines
        nodes.report(phase="waiting", round=0)
        assert playing.wait(60.0) == 0
        until(lambda: set(nodes.sweeps.values()) == {FRAMES}, 5.0, "from the first sweep on, to both")
    finally:
        playing.kill()
    ran = subprocess.run([*command[:3], "/no/such", "--lidar-topic", "/points"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "error: /no/such: no such bag\n")
