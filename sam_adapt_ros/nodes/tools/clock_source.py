"""``/clock``, of which there has to be one only: two make time go to and fro."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock

from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.messages.stamps import LATEST_NS

logger = logging.getLogger(__name__)

CLOCK = "/clock"
LISTEN_S = 1.0
"""How long another clock is listened for before this one starts. A publisher in the graph is not enough of a sign: one
that was killed stays there for a while."""


class ClockSource:
    """Publishes the time, its own or that of a bag, unless somebody else does, then or later.

    own: whether there is a time of its own, that of ``tick``.
    """

    def __init__(self, node: Node, own: bool) -> None:
        self._node = node
        self._publisher: Publisher | None = node.create_publisher(Clock, CLOCK, 10) if own else None
        self._published: deque[tuple[int, int]] = deque(maxlen=1000)
        self._foreign = threading.Event()
        self._listening_since = time.monotonic()
        node.create_subscription(
            Clock, CLOCK, self._hear, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )

    @property
    def ticks(self) -> bool:
        """Whether ``tick`` publishes."""
        return self._publisher is not None and not self._foreign.is_set()

    def settle(self, bag_has_one: bool) -> None:
        """Listens for another clock. To be called before anything is published."""
        if self._publisher is not None or bag_has_one:
            self._foreign.wait(self._listening_since + LISTEN_S - time.monotonic())
        if self._publisher is not None and bag_has_one:
            logger.info("%s is the bag's own", CLOCK)
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    def tick(self, now_ns: int) -> None:
        if not self.ticks:
            return
        message = Clock()
        sec, message.clock.nanosec = divmod(now_ns, SECOND)
        message.clock.sec = min(sec, LATEST_NS // SECOND - 1)
        self._published.append((message.clock.sec, message.clock.nanosec))
        self._publisher.publish(message)  # type: ignore[union-attr]

    def admits(self, cdr: bytes) -> bool:
        """Whether the bag's time may be published; it is then known as ours."""
        clock = deserialize_message(cdr, Clock).clock
        self._published.append((clock.sec, clock.nanosec))
        return not self._foreign.is_set()

    def _hear(self, message: Clock) -> None:
        if (message.clock.sec, message.clock.nanosec) not in self._published and not self._foreign.is_set():
            self._foreign.set()
            logger.warning("somebody else publishes %s: the player does not", CLOCK)
