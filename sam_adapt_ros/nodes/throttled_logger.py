"""Warnings in the log, each no more often than now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

COMPLAINT_PERIOD_S = 5.0
"""The same complaint is logged no more often than this."""


class Complaints:
    """Called from any thread with what is wrong, and the details of this one time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._complained: dict[str, float] = {}

    def __call__(self, what: str, details: str = "") -> None:
        now = time.monotonic()
        if now - self._complained.get(what, -COMPLAINT_PERIOD_S) >= COMPLAINT_PERIOD_S:
            self._complained[what] = now
            self._node.get_logger().warning(what + details)
