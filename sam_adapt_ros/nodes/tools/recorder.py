"""Records topics into a rosbag2, where there is no ``ros2 bag record``; ends by itself when it is complete."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.messages import serialized_stamp_ns
from sam_adapt_ros.nodes import topics
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.input.subscriptions import type_name
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode

logger = logging.getLogger(__name__)

LABELS, STATUS, DIAGNOSTICS = f"/{topics.LABELS}", f"/{topics.STATUS}", topics.DIAGNOSTICS
TOPICS: Mapping[str, type] = {
    LABELS: PointCloud2,
    "/segmenter/labels_2d": PointCloud2,
    "/segmenter/labels_3d": PointCloud2,
    DIAGNOSTICS: DiagnosticArray,
    STATUS: DiagnosticArray,
}
"""What the nodes publish for others."""
DEPTH = 50
End = Literal["complete", "idle", "timeout"]


class Recorder(BackgroundNode):
    """Records from the moment it is entered.

    Leaving it ends the bag; leaving it by an exception removes it. Clouds are recorded at their header's stamp, and
    everything else at the newest stamp a cloud has had, so that the bag's time is the sensors'.

    counts: messages by topic.
    topics: name -> message class. path, force: as for ``BagWriter``.
    Raises BagError when the bag cannot be written.
    """

    name = "recorder"

    def __init__(self, path: str | Path, topics: Mapping[str, type] = TOPICS, *, force: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self._latest: dict[str, bytes] = {}
        self._topics = dict(topics)
        self._writer = BagWriter(path, force=force)
        self._newest = 0
        self._last_message = time.monotonic()
        self._changed = threading.Condition()
        self._failure: BagError | None = None

    def __enter__(self) -> Recorder:
        self._writer.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._writer.__exit__(kind, error, trace)

    def wait(
        self,
        counts: Mapping[str, int] | None = None,
        *,
        idle_s: float | None = None,
        timeout_s: float | None = None,
    ) -> End:
        """Blocks until the recording is complete, idle, or has timed out; returns which.

        When it is complete or idle, one more diagnostics message is waited for (2 s at most), which covers the last
        frames.

        Args:
            counts: topic -> number of messages that make the recording complete.
            idle_s: seconds without a cloud, after the first one, that make it idle.
            timeout_s: seconds after which it has timed out.
        Raises:
            BagError: the messages cannot be written.
        """
        start = time.monotonic()
        ended: End | None = None
        while ended is None:
            with self._changed:
                self._changed.wait(0.05)
            now = time.monotonic()
            if self._failure is not None:
                raise self._failure
            if counts and all(self.counts[topic] >= count for topic, count in counts.items()):
                ended = "complete"
            elif idle_s is not None and self._newest and now - self._last_message > idle_s:
                ended = "idle"
            elif timeout_s is not None and now - start > timeout_s:
                return "timeout"
        if DIAGNOSTICS in self._topics:
            count = self.counts[DIAGNOSTICS]
            with self._changed:
                self._changed.wait_for(lambda: self.counts[DIAGNOSTICS] > count, 2.0)
        return ended

    def diagnostics(self, topic: str, node: str) -> dict[str, Any]:
        """The last report of ``node`` on a topic of DiagnosticArrays, by ``read_diagnostics``; {} before the first."""
        data = self._latest.get(topic)
        return {} if data is None else read_diagnostics(deserialize_message(data, DiagnosticArray), node)

    def latest_cloud(self, topic: str) -> PointCloud2 | None:
        """The last cloud on a topic; None before the first."""
        data = self._latest.get(topic)
        return None if data is None else deserialize_message(data, PointCloud2)

    def _connect(self, node: Node) -> None:
        for topic, kind in self._topics.items():
            node.create_subscription(kind, topic, partial(self._take, topic, kind), QoSProfile(depth=DEPTH), raw=True)

    def _take(self, topic: str, kind: type, data: bytes) -> None:
        stamped = kind is PointCloud2
        try:
            own_stamp = serialized_stamp_ns(data) if stamped else 0
        except ValueError as error:  # somebody else's: it must not end the recording
            logger.warning("a message of %s is not recorded: %s", topic, error)
            return
        with self._changed:
            if stamped:
                self._newest = max(self._newest, stamp := own_stamp)
                self._last_message = time.monotonic()
            else:
                stamp = self._newest
            if stamp and self._failure is None:
                try:
                    self._writer.write(topic, data, stamp, msgtype=type_name(kind))
                except BagError as error:
                    self._failure = error
            self.counts[topic] += 1
            self._latest[topic] = data
            self._changed.notify_all()
