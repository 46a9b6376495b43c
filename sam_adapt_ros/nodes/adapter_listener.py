"""What the adapter says of itself, heard from another process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sam_adapt_ros.nodes import dds
from sam_adapt_ros.nodes.diagnostics import read_diagnostics


class AdapterListener:
    """Hears ``/adaptation/status`` while it is entered, in a thread of its own; a context manager.

    said: the last status, as ``read_diagnostics`` reads it; {} before the first.
    namespace: the adapter's.
    """

    def __init__(self, namespace: str = "") -> None:
        self.said: dict[str, Any] = {}
        self._prefix = f"{namespace.strip('/')}/" if namespace.strip("/") else ""

    def __enter__(self) -> AdapterListener:
        dds.use_profile()
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(
            "adapter_listener", context=self._context, use_global_arguments=False, start_parameter_services=False
        )
        self._node.create_subscription(DiagnosticArray, f"/{self._prefix}adaptation/status", self._take, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, name="adapter_listener", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _take(self, message: DiagnosticArray) -> None:
        self.said = read_diagnostics(message, f"{self._prefix}adapter")


def is_open(said: Mapping[str, Any]) -> bool:
    """Whether the store is open, and frames that come are looked at; said: the adapter's status."""
    return "round" in said


def is_settled(said: Mapping[str, Any]) -> bool:
    """Whether an adapter that observes has summed up what came until now, or will not do so by itself."""
    return bool(said.get("settled")) or said.get("phase") == "paused"
