"""What the adapter says of itself, heard from another process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from sam_adapt_ros.nodes.companion import Companion
from sam_adapt_ros.nodes.diagnostics import read_diagnostics


class AdapterListener(Companion):
    """Hears ``/adaptation/status`` while it is entered.

    said: the last status, as ``read_diagnostics`` reads it; {} before the first. namespace: the adapter's.
    """

    name = "adapter_listener"

    def __init__(self, namespace: str = "") -> None:
        self.said: dict[str, Any] = {}
        self._prefix = f"{namespace.strip('/')}/" if namespace.strip("/") else ""

    def _open(self, node: Node) -> None:
        node.create_subscription(DiagnosticArray, f"/{self._prefix}adaptation/status", self._take, 10)

    def _take(self, message: DiagnosticArray) -> None:
        self.said = read_diagnostics(message, f"{self._prefix}adapter")


def is_open(said: Mapping[str, Any]) -> bool:
    """Whether the store is open, and frames that come are looked at; said: the adapter's status."""
    return "round" in said


def is_settled(said: Mapping[str, Any]) -> bool:
    """Whether an adapter that observes has summed up what came until now, or will not do so by itself."""
    return bool(said.get("settled")) or said.get("phase") == "paused"
