"""When each sweep was published, when its labels came, and what the adapter was doing: as the middleware stamps it."""

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
from sam_adapt_ros.nodes.diagnostics.segmenter_status import read_diagnostics
from sam_adapt_ros.nodes.tools.background_node import Companion
from sam_adapt_ros.nodes.tools.recorder import DEPTH, LABELS, STATUS

ANSWER_TIMEOUT_S = 60.0


class Stopwatch(Companion):
    """Listens while it is entered.

    sent, labelled: by sweep's stamp, when the sweep was published and when its labels had come. phases: when the
    adapter reported which phase, in order. All times are nanoseconds of the system's clock, taken by the middleware's
    own threads: this process may be late to look at a message, the times are not.
    """

    name = "stopwatch"

    def __init__(self, sweeps: str) -> None:
        """sweeps: the LiDAR's topic."""
        self.sent: dict[int, int] = {}
        self.labelled: dict[int, int] = {}
        self.phases: list[tuple[int, str]] = []
        self._sweeps = sweeps

    def pause(self, paused: bool) -> None:
        """Has the adapter pause learning, or go on with it. Raises TimeoutError when it does not answer."""
        if not self._pausing.wait_for_service(ANSWER_TIMEOUT_S):
            raise TimeoutError(f"{self._pausing.srv_name}: not there within {ANSWER_TIMEOUT_S:g} s")
        answered = threading.Event()
        self._pausing.call_async(SetBool.Request(data=paused)).add_done_callback(lambda _: answered.set())
        if not answered.wait(ANSWER_TIMEOUT_S):
            raise TimeoutError(f"{self._pausing.srv_name}: no answer within {ANSWER_TIMEOUT_S:g} s")

    def _open(self, node: Node) -> None:
        def listen(topic: str, kind: type, take: Any, raw: bool = False) -> None:
            """take: called with a message and the middleware's account of it."""
            node.create_subscription(kind, topic, take, QoSProfile(depth=DEPTH), raw=raw)

        listen(self._sweeps, PointCloud2, self._take_sweep, raw=True)
        listen(LABELS, PointCloud2, self._take_labels, raw=True)
        listen(STATUS, DiagnosticArray, self._take_status)
        self._pausing = node.create_client(SetBool, "/adapter/pause")

    def _take_sweep(self, data: bytes, info: Mapping[str, Any]) -> None:
        self.sent[serialized_stamp_ns(data)] = info["source_timestamp"]

    def _take_labels(self, data: bytes, info: Mapping[str, Any]) -> None:
        self.labelled[serialized_stamp_ns(data)] = info["received_timestamp"]

    def _take_status(self, msg: DiagnosticArray, info: Mapping[str, Any]) -> None:
        # As of when it was said: it may be on its way for a while.
        self.phases.append((info["source_timestamp"], read_diagnostics(msg, "adapter").get("phase", "")))
