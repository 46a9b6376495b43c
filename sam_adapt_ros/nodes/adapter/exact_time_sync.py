"""Joins sweeps with the labels predicted of them, which come on different topics in either order, by equal stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.messages import stamp_ns
from sam_adapt_ros.nodes.input.synchronizer import SynchronizedSweep
from sam_adapt_ros.notices import Notices

T = TypeVar("T")

_NOTICE = "label_stamps"
MAX_SWEEPS = 16
"""Sweeps hold images: this bridges the time that the segmenter takes, with a reserve."""
MAX_LABELS = 64
"""Labels are small, and may come long before an adapter of low priority gets to its sweeps."""


class ExactTimeSync:
    """Calls ``output(sweep, labels)`` once both of a stamp are there. For use from the executor's thread alone.

    The newest are kept, by order of arrival, whatever their stamps: a clock that jumps or a bag that loops cannot block
    anything. counts: ``paired``, and what was given up: ``frame_without_labels``, ``labels_without_frame``.
    notices: says when sweeps and labels both come, but none of one stamp.
    """

    def __init__(
        self,
        output: Callable[[SynchronizedSweep, PointCloud2], None],
        notices: Notices,
        max_sweeps: int = MAX_SWEEPS,
        max_labels: int = MAX_LABELS,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._since_pair: Counter[str] = Counter()  # as counts
        self._output, self._notices = output, notices
        self._sweeps: dict[int, SynchronizedSweep] = {}  # by stamp, in order of arrival
        self._labels: dict[int, PointCloud2] = {}
        self._max_sweeps, self._max_labels = max_sweeps, max_labels

    def add_sweep(self, sweep: SynchronizedSweep) -> None:
        labels = self._labels.pop(sweep.stamp_ns, None)
        if labels is None:
            self._give_up("frame_without_labels", _keep(self._sweeps, sweep.stamp_ns, sweep, self._max_sweeps))
        else:
            self._pair(sweep, labels)

    def add_labels(self, labels: PointCloud2) -> None:
        stamp = stamp_ns(labels.header)
        sweep = self._sweeps.pop(stamp, None)
        if sweep is None:
            self._give_up("labels_without_frame", _keep(self._labels, stamp, labels, self._max_labels))
        else:
            self._pair(sweep, labels)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many sweeps and how many labels wait."""
        return len(self._sweeps), len(self._labels)

    def _give_up(self, reason: str, count: int) -> None:
        self.counts[reason] += count
        self._since_pair[reason] += count
        sweeps = self._since_pair["frame_without_labels"]
        if count and min(sweeps, self._since_pair["labels_without_frame"]) >= self._max_sweeps:
            newest_sweep, newest_labels = next(reversed(self._sweeps), 0), next(reversed(self._labels), 0)
            self._notices.add(
                _NOTICE,
                f"nothing is learned: none of the last {sweeps} sweeps has labels of its stamp; the newest labels are "
                f"{(newest_labels - newest_sweep) / SECOND:+.3f} s from the newest sweep: give segmenter and adapter "
                "the same lidar.topic",
            )

    def _pair(self, sweep: SynchronizedSweep, labels: PointCloud2) -> None:
        self.counts["paired"] += 1
        self._since_pair.clear()
        self._notices.withdraw(_NOTICE)
        self._output(sweep, labels)


def _keep(waiting: dict[int, T], stamp: int, item: T, limit: int) -> int:
    """Adds an item as the newest; returns how many it replaced: the one of the same stamp, the oldest of too many."""
    replaced = int(waiting.pop(stamp, None) is not None)
    waiting[stamp] = item
    if len(waiting) > limit:
        del waiting[next(iter(waiting))]
        replaced += 1
    return replaced
