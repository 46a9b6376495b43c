"""Subscriptions that follow the graph: the type and the quality of service of whoever publishes.

A subscription is made when the first publisher is seen, with its type (an image topic may carry ``Image`` or
``CompressedImage``) and its reliability. Best effort would match every publisher but loses pieces of large images under
load; reliable alone would not match best-effort sensors. So: reliable when every publisher is, else best effort. The
depth bridges a second or so in which the executor cannot read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from sam_adapt_ros.nodes.input.message_filters import SimpleFilter, Subscriber

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

if TYPE_CHECKING:
    from rclpy.node import Node

logger = logging.getLogger(__name__)

DEPTH = 20


def type_name(message_type: type) -> str:
    """``sensor_msgs/msg/Image`` of the class."""
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"


class TopicFilter(SimpleFilter):
    """One input topic as a ``message_filters`` filter.

    types: the message classes that will do.
    on_error: called with (topic, exception) when a callback raises, so that one message never ends the stream.
    on_lost: called with (topic, count) when the middleware says that it has lost messages.
    Call ``follow`` now and then.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        types: Sequence[type],
        on_error: Callable[[str, Exception], None],
        on_lost: Callable[[str, int], None] | None = None,
        depth: int = DEPTH,
    ) -> None:
        super().__init__()
        self.node, self.topic = node, topic
        self.received = 0
        self.problem = "no publisher"
        self._types = {type_name(t): t for t in types}
        self._on_error, self._on_lost = on_error, on_lost
        self._depth = depth
        self._subscriber: Subscriber | None = None
        self._subscribed: tuple[str, ReliabilityPolicy, DurabilityPolicy] | None = None

    def follow(self) -> None:
        """Looks at who publishes the topic and subscribes, or subscribes anew, to fit."""
        publishers = self.node.get_publishers_info_by_topic(self.topic)
        fitting = [p for p in publishers if p.topic_type in self._types]
        if not fitting:
            found = sorted({p.topic_type for p in publishers})
            expected = " or ".join(self._types)
            self.problem = f"{expected} expected, published is {', '.join(found)}" if found else "no publisher"
            return
        self.problem = ""
        wanted = self._choose(fitting)
        if wanted != self._subscribed:
            self._subscribe(*wanted)

    def _choose(self, publishers: Sequence[Any]) -> tuple[str, ReliabilityPolicy, DurabilityPolicy]:
        names = [p.topic_type for p in publishers]
        current = self._subscribed[0] if self._subscribed and self._subscribed[0] in names else names[0]
        profiles = [p.qos_profile for p in publishers if p.topic_type == current]
        reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in profiles)
        latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in profiles)
        if self._subscribed and self._subscribed[0] == current:
            # What matches already is not given up for something better: subscribing anew can lose messages.
            reliable &= self._subscribed[1] == ReliabilityPolicy.RELIABLE
            latched &= self._subscribed[2] == DurabilityPolicy.TRANSIENT_LOCAL
        return (
            current,
            ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

    def _subscribe(self, name: str, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> None:
        self.close()
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=self._depth, reliability=reliability, durability=durability
        )
        events = SubscriptionEventCallbacks(message_lost=self._lost) if self._on_lost else None
        self._subscriber = Subscriber(self.node, self._types[name], self.topic, qos_profile=qos, event_callbacks=events)
        self._subscriber.registerCallback(self._receive)
        self._subscribed = (name, reliability, durability)
        self.node.get_logger().info(f"{self.topic}: {name}, {reliability.name.lower().replace('_', ' ')}")

    def _receive(self, msg: Any) -> None:
        self.received += 1
        try:
            self.signalMessage(msg)
        except Exception as error:  # whatever one message does, the next one is served
            self._on_error(self.topic, error)

    def _lost(self, event: Any) -> None:
        assert self._on_lost is not None
        self._on_lost(self.topic, event.total_count_change)

    @property
    def waiting_for(self) -> str:
        """What this input lacks, in words; "" when messages have come."""
        if self.problem:
            return f"{self.topic} ({self.problem})"
        return "" if self.received else f"{self.topic} (no message yet)"

    def close(self) -> None:
        if self._subscriber is not None:
            self.node.destroy_subscription(self._subscriber.sub)
            self._subscriber = self._subscribed = None
