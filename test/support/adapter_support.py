"""What the adapter's tests share: a drive with its labels, and adapter processes that start in a moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from node_support import CAMERAS, HEIGHT, WIDTH, Rig, make_config, stamped, until
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import encode_labels
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.parameter_files import parameter_text
from sam_adapt_ros.nodes.segmenter.publishers import byte_array
from sam_adapt_ros.taxonomy import Taxonomy

TOWN = Taxonomy.load("town")
POINTS = 800

OPEN_GATE: dict[str, object] = {
    "criteria": ["consistency"],
    "consistency_tolerance": 1.0,
    "pseudo_label_tolerance": 1.0,
    "min_pseudo_label_gain": 0.0,
    "confidence": 0.0,
    "fused_tolerance": 1.0,
    "min_class_points": 1,
}
"""Lets through whatever agrees with the teacher no less than what is in use."""


def adapter_config(weights: Path, calibration: Path, store: Path, **adaptation: object) -> Config:
    """Dotted names below ``adaptation`` are written with ``__``."""
    values: dict[str, object] = {
        "store.folder": str(store),
        "store.poll_period": 0.1,
        "resources.nice": 0,
        "buffer.min_distance": 0.5,
        "buffer.split_block": 10.0,
        "buffer.split_gap": 0.5,
        "buffer.held_out": 0.34,
        "buffer.max_frames": 24,
        "rounds.min_frames": 6,
        "rounds.min_held_out": 3,
        "rounds.new_frames": 6,
        "rounds.checkpoint_every": 1,
        "rounds.averaging_weights": [1.0],
        "self_training.steps": 3,
        "self_training.batch_size": 2,
        **{f"gate.{name}": value for name, value in OPEN_GATE.items()},
        **{name.replace("__", "."): value for name, value in adaptation.items()},
    }
    return make_config(weights, calibration, CAMERAS, **{f"adaptation.{name}": value for name, value in values.items()})


def label_message(stamp: int, points: np.ndarray) -> PointCloud2:
    """What a segmenter might predict: by height."""
    class_id = np.where(points[:, 2] < 0, 0, 1 + (points[:, 0] > 0)).astype(np.uint8)
    data = encode_labels(points, class_id, np.full(len(points), 0.9, np.float32), TOWN.colors)
    message = PointCloud2(
        height=1,
        width=data.width,
        fields=[PointField(name=n, offset=o, datatype=d, count=c) for n, o, d, c in data.fields],
        point_step=data.point_step,
        row_step=data.point_step * data.width,
        data=byte_array(data.data),
        is_dense=True,
    )
    return stamped(message, stamp, "lidar")


class AdapterRig(Rig):
    """The sensors of ``Rig``, labels as a segmenter publishes them, and what the adapter answers."""

    def __init__(self) -> None:
        super().__init__()
        self.publishers["labels"] = self.node.create_publisher(PointCloud2, "/segmentation/labels", 10)
        self.status: dict[str, Any] = {}
        self.status_count = 0
        self.messages: dict[str, tuple[bytes, str]] = {}  # by name of the status: level and message
        self.weights: list[str] = []
        self.node.create_subscription(DiagnosticArray, "/adaptation/status", self._take_status, 50)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(String, "/adaptation/weights", lambda m: self.weights.append(m.data), latched)

    def _take_status(self, msg: DiagnosticArray) -> None:
        self.messages = {status.name: (status.level, status.message) for status in msg.status}
        self.status = read_diagnostics(msg, "adapter")
        self.status_count += 1

    def wait_for_adapter(self, timeout: float = 60.0) -> None:
        self.status_count, self.status = 0, {}
        until(lambda: self.status_count > 1, timeout, "the adapter's status")
        names = ("odom", "front", "side", "points", "labels")
        expected = {name: 2 if name == "labels" else 1 for name in names}  # the rig subscribes to labels itself
        until(
            lambda: all(self.publishers[n].get_subscription_count() >= expected[n] for n in names),
            timeout,
            "the adapter's inputs",
        )

    def fresh_status(self) -> dict[str, Any]:
        """Newer than the call."""
        count = self.status_count
        until(lambda: self.status_count >= count + 2, 10.0, "status")
        return self.status

    def drive(self, metres: float = 2.0, labels: bool = True, rows: int = POINTS) -> int:
        """One sweep, so far after the last, and its labels; returns its stamp. rows: of the labels."""
        stamp = self.tick(metres)
        rng = np.random.default_rng(stamp)
        self.points = rng.uniform((-20, -20, -2), (20, 20, 3), (POINTS, 3)).astype(np.float32)
        coarse = rng.integers(30, 220, (6, 8, 3)).astype(np.uint8)
        self.image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        self.send(stamp)
        if labels:
            self.publishers["labels"].publish(label_message(stamp, self.points[:rows]))
        return stamp

    def drive_until(
        self, condition: Callable[[], Any], timeout: float = 60.0, what: str = "", period: float = 0.1
    ) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}; {self.status}"
            self.drive()
            time.sleep(period)

    @contextmanager
    def driving(self, period: float = 0.1, labels: bool = True) -> Iterator[list[int]]:
        """Drives on in the background; the stamps of the sweeps. labels: whether they come from here."""
        stop, stamps = threading.Event(), []

        def run() -> None:
            while not stop.wait(period):
                stamps.append(self.drive(labels=labels))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield stamps
        finally:
            stop.set()
            thread.join()

    def ask_adapter(self, service: str, timeout: float = 5.0) -> tuple[bool, str]:
        answer = self.call(Trigger, f"/adapter/{service}", Trigger.Request(), timeout)
        return answer.success, answer.message

    def pause(self, paused: bool) -> str:
        return self.call(SetBool, "/adapter/pause", SetBool.Request(data=paused), 5.0).message


class AdapterServer:
    """Starts adapter processes in a moment."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("adapter_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def _ask(self, *words: object) -> str:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write("\t".join(map(str, words)) + "\n")
        return self._server.stdout.readline().strip()

    def start(self, config: Config, folder: Path) -> AdapterChild:
        """folder: where its parameters and its log are written to."""
        parameters = folder / "adapter.yaml"
        parameters.write_text(parameter_text(config))
        log = folder / "adapter.log"
        arguments = ["--ros-args", "--params-file", parameters, "-p", "use_sim_time:=true"]
        return AdapterChild(self._ask, int(self._ask("start", log, *arguments)), log)

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)


class AdapterChild:
    def __init__(self, ask: Callable[..., str], pid: int, log: Path) -> None:
        self._ask, self.pid, self._log = ask, pid, log
        self._code = "running"

    @property
    def running(self) -> bool:
        if self._code == "running":
            self._code = self._ask("poll", self.pid)
        return self._code == "running"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGINT) -> int:
        """Sends a signal; returns the exit code."""
        if self.running:
            os.kill(self.pid, number)
            self._code = self._ask("wait", self.pid)
        return int(self._code)
