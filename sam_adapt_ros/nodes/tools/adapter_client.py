"""What the adapter says of itself, heard from another process, and waiting for it to say so."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from sam_adapt_ros.nodes.diagnostics.segmenter_status import read_diagnostics
from sam_adapt_ros.nodes.tools.background_node import Companion

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 180.0
"""So long an adapter is waited for that takes its time where others take the processor."""
PHASE_TIMEOUT_S = 60.0
"""So long one that observes is waited for in one phase of its last round."""
REMINDER_S = 10.0


class AdapterListener(Companion):
    """Hears ``/adaptation/status`` while it is entered.

    said: the last status, as ``read_diagnostics`` reads it; {} before the first. namespace: the adapter's.
    """

    name = "adapter_listener"

    def __init__(self, namespace: str = "") -> None:
        self.said: dict[str, Any] = {}
        self._prefix = f"{namespace.strip('/')}/" if namespace.strip("/") else ""

    def wait_until_open(self, stop: threading.Event) -> None:
        """Until frames that come are looked at; at most OPEN_TIMEOUT_S, and no longer than until ``stop``."""
        if not self._wait(lambda: is_open(self.said), lambda: "to open its store", OPEN_TIMEOUT_S, stop):
            logger.warning("the adapter is not open after %g s: the bag is played all the same", OPEN_TIMEOUT_S)

    def wait_until_settled(self, stop: threading.Event) -> None:
        """Until it has summed up what it observed, as long as it comes further, and no longer than until ``stop``."""
        from sam_adapt_ros.nodes.adapter_node import RUN_DRY_S

        def what() -> str:
            phase = self.said.get("phase") if is_open(self.said) else "its store is not open"
            return f"to sum up what it observed ({phase})"

        # Sooner it cannot know that nothing more comes, and what it says is about a pause on the way.
        stop.wait(RUN_DRY_S)
        if not self._wait(lambda: is_settled(self.said), what, PHASE_TIMEOUT_S, stop):
            logger.warning("the adapter has not come further in %g s: it is ended", PHASE_TIMEOUT_S)

    def _open(self, node: Node) -> None:
        node.create_subscription(DiagnosticArray, f"/{self._prefix}adaptation/status", self._take, 10)

    def _take(self, message: DiagnosticArray) -> None:
        self.said = read_diagnostics(message, f"{self._prefix}adapter")

    @staticmethod
    def _wait(done: Callable[[], bool], what: Callable[[], str], patience_s: float, stop: threading.Event) -> bool:
        """Waits, saying what for, until it is done or to stop; False when that stays the same for too long."""
        what_before, since = "", 0.0
        said = -REMINDER_S
        while not (done() or stop.is_set()):
            now = time.monotonic()
            if (it := what()) != what_before:
                what_before, since = it, now
                said = -REMINDER_S
            if now - since > patience_s:
                return False
            if now - said > REMINDER_S:
                said = now
                logger.info("waiting for the adapter %s, %g s at most", it, patience_s)
            stop.wait(0.1)
        return True


def is_open(said: Mapping[str, Any]) -> bool:
    """Whether the store is open, and frames that come are looked at; said: the adapter's status."""
    return "round" in said


def is_settled(said: Mapping[str, Any]) -> bool:
    """Whether an adapter that observes has summed up what came until now, or will not do so by itself."""
    return bool(said.get("settled")) or said.get("phase") == "paused"


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point: ``await_adapter [--namespace NS]`` ends when the adapter looks at the frames that come."""
    parser = argparse.ArgumentParser(prog="await_adapter", description="Wait until the adapter looks at what comes.")
    parser.add_argument("--namespace", default="", help="the adapter's")
    given = parser.parse_args(remove_ros_args(list(sys.argv if args is None else ["await_adapter", *args]))[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with AdapterListener(given.namespace) as adapter:
        adapter.wait_until_open(stop)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
