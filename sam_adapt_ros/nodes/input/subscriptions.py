"""Subscriptions that adapt to the message type and the quality of service of the publishers.

A subscription is made when the first publisher is seen, with its type (an image topic may carry ``Image`` or
``CompressedImage``) and its reliability. Best effort would match every publisher but loses pieces of large images under
load; reliable alone would not match best-effort sensors. So: reliable when every publisher is, else best effort. The
depth bridges a second or so in which the executor cannot read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

DEPTH = 20


def type_name(message_type: type) -> str:
    """``sensor_msgs/msg/Image`` of the class."""
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"


class TopicSubscription:
    """One input topic. Call ``update`` regularly.

    types: the message classes that are accepted.
    callback: called with each message; what it raises is counted and logged, so that one message never ends the stream.
    parameter: the name of the parameter that names the topic, for messages to the user.
    on_lost: called with the number of messages that the middleware lost; by default they are counted as warnings.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        types: Sequence[type],
        callback: Callable[[Any], None],
        statistics: StreamStatistics,
        parameter: str = "",
        on_lost: Callable[[int], None] | None = None,
        depth: int = DEPTH,
    ) -> None:
        self.topic = topic
        self.received = 0
        self._node, self._callback, self._statistics = node, callback, statistics
        self._types = {type_name(t): t for t in types}
        self._parameter, self._on_lost, self._depth = parameter, on_lost, depth
        self._problem = "no publisher"
        self._subscription: Subscription | None = None
        self._subscribed: tuple[str, ReliabilityPolicy, DurabilityPolicy] | None = None

    def update(self) -> None:
        """Subscribes, or subscribes again, to match the topic's present publishers."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        fitting = [p for p in publishers if p.topic_type in self._types]
        if not fitting:
            found = ", ".join(sorted({p.topic_type for p in publishers}))
            expected = " or ".join(self._types)
            self._problem = f"{expected} expected, published is {found}" if found else "no publisher"
            return
        self._problem = ""
        chosen = self._choose(fitting)
        if chosen != self._subscribed:
            self._subscribe(*chosen)

    @property
    def waiting_for(self) -> str:
        """What this input lacks, in words; "" when messages have come."""
        problem = self._problem or ("" if self.received else "no message yet")
        hint = f"; set by {self._parameter}" if self._parameter else ""
        return f"{self.topic} ({problem}{hint})" if problem else ""

    def close(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribed = None

    def _choose(self, publishers: Sequence[Any]) -> tuple[str, ReliabilityPolicy, DurabilityPolicy]:
        names = [p.topic_type for p in publishers]
        current = self._subscribed[0] if self._subscribed and self._subscribed[0] in names else names[0]
        profiles = [p.qos_profile for p in publishers if p.topic_type == current]
        reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in profiles)
        latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in profiles)
        if self._subscribed and self._subscribed[0] == current:
            # A subscription that matches is not replaced by a stricter one: subscribing again can lose messages.
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
        self._subscription = self._node.create_subscription(
            self._types[name],
            self.topic,
            self._receive,
            qos,
            event_callbacks=SubscriptionEventCallbacks(message_lost=self._lost),
        )
        self._subscribed = (name, reliability, durability)
        self._node.get_logger().info(
            f"subscribed to {self.topic}: {name}, {reliability.name.lower().replace('_', ' ')}"
        )

    def _receive(self, msg: Any) -> None:
        self.received += 1
        try:
            self._callback(msg)
        except Exception as error:
            self._statistics.message_unusable(self.topic, error)

    def _lost(self, event: Any) -> None:
        if self._on_lost is not None:
            self._on_lost(event.total_count_change)
        else:
            self._statistics.messages_lost(self.topic, event.total_count_change)
