"""The clock that sweeps wait by: steady, but as slow as simulated time, so that a bag played slowly loses no images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from sam_adapt_ros.geometry.poses import SECOND

if TYPE_CHECKING:
    from rclpy.clock import ROSClock
    from rclpy.node import Node

_STOPPED_NS = SECOND // 2
"""Simulated time that has not changed for so long is paused or over: the clock goes on at full speed."""
_WINDOW_NS = SECOND
"""Simulated time ticks; its speed is measured over up to this time."""


class PlaybackClock:
    """Runs with the steady clock, and more slowly while simulated time (``/clock``) does: when a bag is played at a
    fifth of its speed, or a simulator cannot keep up. It never stops nor jumps, whatever simulated time does.

    simulated_ns: reads the simulated time; 0 where there is none. steady_ns: reads the steady clock.
    """

    def __init__(self, simulated_ns: Callable[[], int], steady_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._read_simulated, self._read_steady = simulated_ns, steady_ns
        self._now = self._changed = steady_ns()
        self._simulated = simulated_ns()
        self._running = False
        self._anchor = (self._now, self._simulated, self._now)  # steady, simulated, this clock

    @classmethod
    def of(cls, node: Node) -> PlaybackClock:
        """By the node's clock."""
        clock = cast("ROSClock", node.get_clock())
        return cls(lambda: clock.now().nanoseconds if clock.ros_time_is_active else 0)

    def now(self) -> int:
        """Nanoseconds; while no simulated time slows it down, as far from another call's as on the steady clock."""
        steady, simulated = self._read_steady(), self._read_simulated()
        if simulated != self._simulated:
            self._simulated, self._changed = simulated, steady
        running = simulated > 0 and steady - self._changed < _STOPPED_NS
        if running != self._running or simulated < self._anchor[1]:
            self._running = running
            self._anchor = (steady, simulated, self._now)
        advance = elapsed = steady - self._anchor[0]
        if running:
            advance = min(elapsed, simulated - self._anchor[1])
        self._now = max(self._now, self._anchor[2] + advance)
        if elapsed > _WINDOW_NS:
            self._anchor = (steady, simulated, self._now)
        return self._now

    def steady(self, at_ns: int) -> int:
        """The steady clock's time at which this one shows ``at_ns`` at the earliest."""
        return self._read_steady() + at_ns - self.now()
