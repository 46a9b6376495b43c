"""Gives each LiDAR message its images, then waits for the calibration and the poses that it needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.config import Config, SyncConfig
from sam_adapt_ros.messages import Match, TimeSynchronizer, stamp_ns
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.calibration_wait import CalibrationWait
from sam_adapt_ros.nodes.input.playback_clock import PlaybackClock
from sam_adapt_ros.nodes.timers import DeadlineTimer

if TYPE_CHECKING:
    from rclpy.node import Node


@dataclass(frozen=True, eq=False)
class SynchronizedSweep:
    """A LiDAR message with all that belongs to it.

    images: camera -> (stamp with the camera's time offset added, message). missing: cameras without an image.
    arrival_ns, ready_ns: when the cloud came, and when no other input was awaited any more (``time.monotonic_ns``).
    """

    stamp_ns: int
    cloud: PointCloud2
    images: dict[str, tuple[int, Any]]
    missing: tuple[str, ...]
    arrival_ns: int
    ready_ns: int


class _Arrival(NamedTuple):
    cloud: PointCloud2
    time_ns: int


class SensorSynchronizer:
    """Calls ``output`` with a ``SynchronizedSweep`` for each LiDAR message, in order; drops are counted.

    lacking: names of what a match needs, a CameraInfo or a pose, and that may yet come.
    Time-outs run on the steady clock, as slowly as a bag is played, so that a paused bag or a clock jump do not affect
    them. A bag that loops is noticed by its stamps, with and without ``/clock``. All methods are called in the
    executor's thread.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        lacking: Callable[[Match], Collection[str]],
        output: Callable[[SynchronizedSweep], None],
        statistics: StreamStatistics,
    ) -> None:
        self._offsets = {name: camera.time_offset for name, camera in config.cameras.items()}
        self._config, self._output, self._statistics = config.sync, output, statistics
        self._earlier_counts: Counter[str] = Counter()
        self._images = self._image_synchronizer(config.sync)
        self._calibration = CalibrationWait(lacking, config.transforms.timeout, self._emit)
        self._clock = PlaybackClock.of(node)
        self._timer = DeadlineTimer(node, self._on_deadline)

    def add_sweep(self, msg: PointCloud2) -> None:
        self._statistics.arrived()
        self._images.add_sweep(stamp_ns(msg.header), _Arrival(msg, time.monotonic_ns()), self._clock.now())
        self._arm_timer()

    def add_image(self, camera: str, msg: Any) -> None:
        self._images.add_image(camera, stamp_ns(msg.header), msg, self._clock.now())
        self._arm_timer()

    def calibration_changed(self) -> None:
        """A CameraInfo or a transform came."""
        self._calibration.notify(self._clock.now())
        self._arm_timer()

    @property
    def counts(self) -> Counter[str]:
        """What happened to sweeps and images, as ``messages.TimeSynchronizer`` counts it."""
        return self._earlier_counts + self._images.counts

    def reconfigure(self, config: Config) -> None:
        """Applies the settings that may change while running. When ``sync`` has changed, waiting sweeps continue with
        the images that came, and matching restarts."""
        self._calibration.timeout_s = config.transforms.timeout
        if config.sync != self._config:
            self._config = config.sync
            self._images.flush()
            self._earlier_counts += self._images.counts
            self._images = self._image_synchronizer(config.sync)
            self._arm_timer()

    def close(self) -> None:
        """Sweeps that wait for images continue with those that came; those that wait for calibration are dropped."""
        self._images.flush()
        self._timer.close()
        for match in self._calibration.clear():
            self._statistics.drop("stopped", match.stamp_ns)

    def _image_synchronizer(self, config: SyncConfig) -> TimeSynchronizer:
        return TimeSynchronizer(self._offsets, config, self._matched, self._statistics.drop, self._statistics.notices)

    def _matched(self, match: Match) -> None:
        self._calibration.add(match, self._clock.now())

    def _emit(self, match: Match) -> None:
        arrival: _Arrival = match.sweep
        ready_ns = time.monotonic_ns()
        self._output(
            SynchronizedSweep(match.stamp_ns, arrival.cloud, match.images, match.missing, arrival.time_ns, ready_ns)
        )

    def _on_deadline(self) -> None:
        now = self._clock.now()
        self._images.tick(now)
        self._calibration.poll(now)
        self._arm_timer()

    def _arm_timer(self) -> None:
        deadlines = [at for at in (self._images.deadline(), self._calibration.deadline()) if at is not None]
        self._timer.arm(self._clock.steady(min(deadlines)) if deadlines else None)
