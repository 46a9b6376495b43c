"""Records topics into a rosbag2, where there is no ``ros2 bag record``; ends by itself when it is complete."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.bags import BagWriter, Storage, Version
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.messages import serialized_stamp_ns
from sam_adapt_ros.nodes.diagnostics.segmenter_status import read_diagnostics
from sam_adapt_ros.nodes.input.subscriptions import type_name
from sam_adapt_ros.nodes.tools.background_node import Companion

logger = logging.getLogger(__name__)

LABELS, DIAGNOSTICS, STATUS = "/segmentation/labels", "/diagnostics", "/adaptation/status"
TOPICS: Mapping[str, type] = {
    LABELS: PointCloud2,
    "/segmenter/labels_2d": PointCloud2,
    "/segmenter/labels_3d": PointCloud2,
    DIAGNOSTICS: DiagnosticArray,
    STATUS: DiagnosticArray,
}
"""What the nodes say."""
DEPTH = 50


class Recorder(Companion):
    """Records from the moment it is entered.

    Leaving it ends the bag; leaving it by an exception removes it. Clouds are recorded at their header's stamp, and
    everything else at the newest stamp a cloud has had, so that the bag's time is the sensors'.

    counts: messages by topic.
    topics: name -> message class. path, storage, version, force: as for ``BagWriter``.
    Raises BagError when the bag cannot be written.
    """

    name = "recorder"

    def __init__(
        self,
        path: str | Path,
        topics: Mapping[str, type] = TOPICS,
        *,
        storage: Storage = "mcap",
        version: Version = 9,
        force: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._latest: dict[str, bytes] = {}
        self._topics = dict(topics)
        self._writer = BagWriter(path, storage, version, force)
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
        last_words: Sequence[str] = (DIAGNOSTICS,),
        stop: threading.Event | None = None,
    ) -> str:
        """Blocks until there is nothing more to wait for; says which end it was: ``complete``, ``idle``, ``timeout``,
        ``stopped``.

        counts: topic -> messages that make the recording complete. idle_s: no message for so many seconds, after the
        first, other than on ``last_words``. timeout_s: in any case.
        last_words: topics of which, the recording being complete or idle, one more message is waited for (2 s at most):
        the diagnostics that tell of the last frames.
        Raises BagError when the disk does not take the messages.
        """
        start = time.monotonic()
        ended = ""
        while not ended:
            with self._changed:
                self._changed.wait(0.05)
            now = time.monotonic()
            if self._failure is not None:
                raise self._failure
            if stop is not None and stop.is_set():
                return "stopped"
            if counts and all(self.counts[topic] >= count for topic, count in counts.items()):
                ended = "complete"
            elif idle_s is not None and self._newest and now - self._last_message > idle_s:
                ended = "idle"
            elif timeout_s is not None and now - start > timeout_s:
                return "timeout"
        heard = {topic: self.counts[topic] for topic in last_words if topic in self._topics}
        deadline = time.monotonic() + 2.0
        with self._changed:
            self._changed.wait_for(
                lambda: all(self.counts[topic] > count for topic, count in heard.items()),
                max(0.0, deadline - time.monotonic()),
            )
        return ended

    def diagnostics(self, topic: str, node: str) -> dict[str, Any]:
        """What ``node`` last reported on a topic of DiagnosticArrays, as ``read_diagnostics`` reads it; {} before."""
        data = self._latest.get(topic)
        return {} if data is None else read_diagnostics(deserialize_message(data, DiagnosticArray), node)

    def _open(self, node: Node) -> None:
        for topic, kind in self._topics.items():
            node.create_subscription(kind, topic, partial(self._take, topic, kind), QoSProfile(depth=DEPTH), raw=True)

    def _take(self, topic: str, kind: type, data: bytes) -> None:
        stamped = kind is PointCloud2
        with self._changed:
            if stamped:
                self._newest = max(self._newest, stamp := serialized_stamp_ns(data))
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
