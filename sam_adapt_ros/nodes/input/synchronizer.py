"""The LiDAR-keyed synchronizer as a ``message_filters`` filter."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sam_adapt_ros.config import SyncConfig
from sam_adapt_ros.messages import TimeSynchronizer, stamp_ns
from sam_adapt_ros.nodes.input.deadline_timer import DeadlineTimer
from sam_adapt_ros.nodes.input.message_filters import SimpleFilter

if TYPE_CHECKING:
    from rclpy.node import Node


class Sweep(NamedTuple):
    """A LiDAR message and when it arrived (``time.monotonic_ns``)."""

    msg: Any
    arrival_ns: int


class LidarSynchronizer(SimpleFilter):
    """Outputs a ``messages.Match`` a sweep, whose ``sweep`` is a ``Sweep``. Its inputs are filters of any kind whose
    messages have headers.

    offsets: seconds added to a camera's stamps.
    on_drop: called with (reason, stamp_ns) for each sweep that is given up.
    Time-outs run on the steady clock, so that simulated time, a paused bag or a clock jump do not touch them. A looping
    bag is noticed by its stamps, which works with and without ``/clock``.
    """

    def __init__(
        self,
        node: Node,
        lidar: SimpleFilter,
        cameras: Mapping[str, SimpleFilter],
        offsets: Mapping[str, float],
        config: SyncConfig,
        on_drop: Callable[[str, int], None],
    ) -> None:
        super().__init__()
        self._offsets, self._on_drop = dict(offsets), on_drop
        self._counted: Counter[str] = Counter()
        self._core = self._make(config)
        self._timer = DeadlineTimer(node, self._tick)
        lidar.registerCallback(self._add_sweep)
        for name, camera in cameras.items():
            camera.registerCallback(self._add_image, name)

    @property
    def counts(self) -> Counter[str]:
        """What happened to sweeps and images, as ``messages.TimeSynchronizer`` counts it."""
        return self._counted + self._core.counts

    def reconfigure(self, config: SyncConfig) -> None:
        """Waiting sweeps go on with what came, and matching starts anew."""
        self._core.flush()
        self._counted += self._core.counts
        self._core = self._make(config)
        self._timer.arm(None)

    def close(self) -> None:
        """Waiting sweeps go on with what came; no more time-outs."""
        self._core.flush()
        self._timer.close()

    def _make(self, config: SyncConfig) -> TimeSynchronizer:
        return TimeSynchronizer(self._offsets, config, self.signalMessage, self._on_drop)

    def _add_sweep(self, msg: Any) -> None:
        now = time.monotonic_ns()
        self._core.add_sweep(stamp_ns(msg.header), Sweep(msg, now), now)
        self._timer.arm(self._core.deadline())

    def _add_image(self, msg: Any, camera: str) -> None:
        self._core.add_image(camera, stamp_ns(msg.header), msg, time.monotonic_ns())
        self._timer.arm(self._core.deadline())

    def _tick(self) -> None:
        self._core.tick(time.monotonic_ns())
        self._timer.arm(self._core.deadline())
