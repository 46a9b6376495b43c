"""Measures, for a benchmark, when sweeps are published, when their labels arrive, and what the adapter does then."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import SetBool

from sam_adapt_ros.messages import serialized_stamp_ns
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode
from sam_adapt_ros.nodes.tools.recorder import DEPTH, LABELS, STATUS

ANSWER_TIMEOUT_S = 60.0


class LatencyProbe(BackgroundNode):
    """Measures while it is entered.

    sent, labelled: by sweep's stamp, when the sweep was published and when its labels arrived. phases: when the
    adapter reported which phase, in order. All times are nanoseconds of the system's clock, taken by the middleware's
    own threads, so that they do not depend on how soon this process handles a message.
    """

    name = "latency_probe"

    def __init__(self, sweeps: str) -> None:
        """sweeps: the LiDAR's topic."""
        self.sent: dict[int, int] = {}
        self.labelled: dict[int, int] = {}
        self.phases: list[tuple[int, str]] = []
        self._sweeps = sweeps

    def pause(self, paused: bool) -> None:
        """Pauses or resumes learning, by the adapter's service. Raises TimeoutError when it does not answer."""
        if not self._pause_service.wait_for_service(ANSWER_TIMEOUT_S):
            raise TimeoutError(f"{self._pause_service.srv_name}: no such service within {ANSWER_TIMEOUT_S:g} s")
        answered = threading.Event()
        self._pause_service.call_async(SetBool.Request(data=paused)).add_done_callback(lambda _: answered.set())
        if not answered.wait(ANSWER_TIMEOUT_S):
            raise TimeoutError(f"{self._pause_service.srv_name}: no answer within {ANSWER_TIMEOUT_S:g} s")

    def _connect(self, node: Node) -> None:
        def subscribe(kind: type, topic: str, take: Any, raw: bool = False) -> None:
            """take: called with a message and, which rclpy's type stubs do not know, the middleware's time stamps."""
            node.create_subscription(kind, topic, take, QoSProfile(depth=DEPTH), raw=raw)

        subscribe(PointCloud2, self._sweeps, self._take_sweep, raw=True)
        subscribe(PointCloud2, LABELS, self._take_labels, raw=True)
        subscribe(DiagnosticArray, STATUS, self._take_status)
        self._pause_service = node.create_client(SetBool, "/adapter/pause")

    def _take_sweep(self, data: bytes, info: Mapping[str, Any]) -> None:
        self.sent[serialized_stamp_ns(data)] = info["source_timestamp"]

    def _take_labels(self, data: bytes, info: Mapping[str, Any]) -> None:
        self.labelled[serialized_stamp_ns(data)] = info["received_timestamp"]

    def _take_status(self, msg: DiagnosticArray, info: Mapping[str, Any]) -> None:
        # The time when it was published: it may arrive later.
        self.phases.append((info["source_timestamp"], read_diagnostics(msg, "adapter").get("phase", "")))
