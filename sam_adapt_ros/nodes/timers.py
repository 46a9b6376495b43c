"""Timers on the steady clock: they continue while simulated time stops or jumps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.clock import Clock, ClockType

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.timer import Timer


def steady_timer(node: Node, period_s: float, callback: Callable[[], None]) -> Timer:
    """A periodic timer."""
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))


class DeadlineTimer:
    """Calls back once at the deadline it was last given; for use from the executor's thread."""

    def __init__(self, node: Node, callback: Callable[[], None]) -> None:
        self._node, self._callback = node, callback
        self._timer = steady_timer(node, 3600.0, self._expire)
        self._timer.cancel()
        self._deadline: int | None = None

    def arm(self, deadline_ns: int | None) -> None:
        """deadline_ns: on ``time.monotonic_ns``'s clock; None: no call. Replaces the deadline before."""
        if deadline_ns == self._deadline:
            return
        self._deadline = deadline_ns
        if deadline_ns is None:
            self._timer.cancel()
            return
        self._timer.timer_period_ns = max(deadline_ns - time.monotonic_ns(), 100_000)
        self._timer.reset()

    def close(self) -> None:
        self._node.destroy_timer(self._timer)

    def _expire(self) -> None:
        self._timer.cancel()
        self._deadline = None
        self._callback()
