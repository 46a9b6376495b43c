from __future__ import annotations

import time
from typing import Any

import pytest
from node_support import SECOND
from rclpy.node import Node

from sam_adapt_ros.nodes.timers import DeadlineTimer


def test_it_calls_once_and_can_be_moved(node: Node, spin: Any) -> None:
    calls: list[int] = []
    timer = DeadlineTimer(node, lambda: calls.append(time.monotonic_ns()))
    start = time.monotonic_ns()
    timer.arm(start + SECOND // 10)
    timer.arm(start + SECOND // 20)
    spin(lambda: calls)
    assert calls[0] - start >= SECOND // 20
    with pytest.raises(AssertionError):
        spin(lambda: len(calls) > 1, timeout=0.2)
    timer.arm(time.monotonic_ns() - SECOND)  # overdue
    spin(lambda: len(calls) == 2)
    timer.arm(time.monotonic_ns() + SECOND // 20)
    timer.arm(None)
    with pytest.raises(AssertionError):
        spin(lambda: len(calls) > 2, timeout=0.2)
    timer.close()
