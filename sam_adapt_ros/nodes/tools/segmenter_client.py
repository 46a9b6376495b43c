"""Whether the segmenter labels what is played to it, by the diagnostics that it publishes."""

from __future__ import annotations

import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from sam_adapt_ros.nodes import topics
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.launch_arguments import absolute_name
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode
from sam_adapt_ros.notices import describe_counts

PATIENCE_S = 20.0
"""How long the first label is waited for after the last sweep: it may wait in a queue, and so may the diagnostics."""


class SegmenterClient(BackgroundNode):
    """Subscribes to ``/diagnostics`` while it is entered.

    report: the segmenter's values, as ``read_diagnostics`` reads them; {} before the first. namespace: the segmenter's.
    """

    name = "segmenter_client"

    def __init__(self, namespace: str = "") -> None:
        self.report: dict[str, Any] = {}
        self._node_name = absolute_name(namespace, "segmenter")[1:]

    def failure(self, stop: threading.Event) -> str:
        """Why no sweep has been labelled until now; "" if one was. Waits a little for the last ones, or until
        ``stop``."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not stop.wait(0.1):
            if self.report.get("frames_labelled"):
                return ""
        drops = describe_counts(self.report.get("dropped", {}))
        return (
            f"no sweep was labelled: {self.report.get('frames_in', 0)} came to the segmenter"
            f"{f', dropped: {drops}' if drops else ''}"
        )

    def _connect(self, node: Node) -> None:
        node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._take, 10)

    def _take(self, message: DiagnosticArray) -> None:
        self.report = read_diagnostics(message, self._node_name) or self.report
