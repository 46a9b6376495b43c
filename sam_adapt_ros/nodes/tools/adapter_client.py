"""Waiting, from another process, until the adapter is ready or has finished, by the status that it publishes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from sam_adapt_ros.nodes import topics
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.launch_arguments import absolute_name
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 180.0
"""Where other processes take the processor, importing torch and opening the store may take minutes."""
PHASE_TIMEOUT_S = 60.0
"""The longest that an adapter that observes is waited for in one phase of its last round."""
REMINDER_S = 10.0


class AdapterClient(BackgroundNode):
    """Subscribes to ``adaptation/status`` while it is entered.

    status: the last one, as ``read_diagnostics`` reads it; {} before the first.
    namespace: the adapter's.
    """

    name = "adapter_client"

    def __init__(self, namespace: str = "") -> None:
        self.status: dict[str, Any] = {}
        self._namespace = namespace

    def wait_until_open(self, stop: threading.Event) -> bool:
        """Blocks until the adapter takes in frames, for at most OPEN_TIMEOUT_S, or until ``stop``. Whether it does."""
        if not self._wait(lambda: is_open(self.status), lambda: "to open its store", OPEN_TIMEOUT_S, stop):
            logger.warning(
                "the adapter has not opened its store within %g s: the bag is played all the same, "
                "the frames before it does are not observed",
                OPEN_TIMEOUT_S,
            )
        return is_open(self.status)

    def wait_until_settled(self, stop: threading.Event) -> None:
        """Blocks until the adapter has summed up what it observed, as long as it makes progress, or until ``stop``."""
        from sam_adapt_ros.nodes.adapter_node import STREAM_END_S

        def waited_for() -> str:
            phase = self.status.get("phase") if is_open(self.status) else "its store is not open"
            return f"to sum up what it observed ({phase})"

        # Before the end of the bag, "settled" might only mean a pause in it.
        stop.wait(STREAM_END_S)
        if not self._wait(lambda: is_settled(self.status), waited_for, PHASE_TIMEOUT_S, stop):
            logger.warning(
                "the adapter has made no progress for %g s: it is stopped without a summary", PHASE_TIMEOUT_S
            )

    def _connect(self, node: Node) -> None:
        node.create_subscription(DiagnosticArray, absolute_name(self._namespace, topics.STATUS), self._take, 10)

    def _take(self, message: DiagnosticArray) -> None:
        self.status = read_diagnostics(message, absolute_name(self._namespace, "adapter")[1:])

    @staticmethod
    def _wait(done: Callable[[], bool], waited_for: Callable[[], str], timeout_s: float, stop: threading.Event) -> bool:
        """False when what is waited for has stayed the same for ``timeout_s``; logs it now and then."""
        before, since, logged = "", 0.0, -REMINDER_S
        while not (done() or stop.is_set()):
            now = time.monotonic()
            if (current := waited_for()) != before:
                before, since, logged = current, now, -REMINDER_S
            if now - since > timeout_s:
                return False
            if now - logged > REMINDER_S:
                logged = now
                logger.info("waiting for the adapter %s, %g s at most", current, timeout_s)
            stop.wait(0.1)
        return True


def is_open(status: Mapping[str, Any]) -> bool:
    """Whether the adapter has opened its store, and takes in frames."""
    return "round" in status


def is_settled(status: Mapping[str, Any]) -> bool:
    """Whether an adapter that observes has summed up what came until now, or is paused and will not."""
    return bool(status.get("settled")) or status.get("phase") == "paused"
