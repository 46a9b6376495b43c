"""A node that runs in its own ROS context and thread, next to the other work of its process."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sam_adapt_ros.nodes import fastdds
from sam_adapt_ros.nodes.log_folder import ensure_log_folder

B = TypeVar("B", bound="BackgroundNode")


class BackgroundNode(ABC):
    """A context manager: the node runs while it is entered, its callbacks in a thread of its own.

    name: of the node.
    """

    name = ""

    def __enter__(self: B) -> B:
        fastdds.use_profile()
        ensure_log_folder()
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(self.name, context=self._context, use_global_arguments=False, start_parameter_services=False)
        self._connect(self._node)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, name=self.name, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    @abstractmethod
    def _connect(self, node: Node) -> None:
        """Creates the node's publishers, subscriptions and clients."""
