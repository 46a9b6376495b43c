"""Subscriptions that adapt to the message type and the quality of service of the publishers.

A subscription is made when the first publisher is seen, with its type (an image topic may carry ``Image`` or
``CompressedImage``) and its reliability. Best effort would match every publisher but loses pieces of large images under
load; reliable alone would not match best-effort sensors. So: reliable when every publisher is, else best effort. The
depth bridges a second or so in which the executor cannot read.

A volatile subscription matches every publisher but gets nothing of what a latched (transient-local) one sent before; a
transient-local one gets that, but does not match volatile publishers. Where a topic has publishers of both kinds, as
``/tf_static`` often has, there are two subscriptions, and what comes by both is passed on once.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
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
    silence_s: where no message comes for so long, the topic is waited for again.
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
        silence_s: float = math.inf,
    ) -> None:
        self.topic = topic
        self.received = 0
        self._received_at = 0.0  # the last one, on the steady clock
        self._node, self._callback, self._statistics = node, callback, statistics
        self._types = {type_name(t): t for t in types}
        self._parameter, self._on_lost, self._depth, self._silence_s = parameter, on_lost, depth, silence_s
        self._problem = "no publisher"
        self._type = ""  # of the publishers that are subscribed to
        self._subscriptions: dict[DurabilityPolicy, Subscription] = {}
        self._headers: deque[tuple[int, int, str]] = deque(maxlen=2 * depth)  # of the latest messages

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
        names = [p.topic_type for p in fitting]
        if self._type not in names:
            self.close()
            self._type = names[0]
        self._match([p.qos_profile for p in fitting if p.topic_type == self._type])

    @property
    def waiting_for(self) -> str:
        """What this input lacks, in words; "" when messages have come, and come still."""
        silent = time.monotonic() - self._received_at > self._silence_s
        problem = self._problem or ("no message yet" if not self.received else "no message any more" if silent else "")
        hint = f"; set by {self._parameter}" if self._parameter else ""
        return f"{self.topic} ({problem}{hint})" if problem else ""

    def close(self) -> None:
        for durability in list(self._subscriptions):
            self._unsubscribe(durability)

    def _match(self, publishers: Sequence[QoSProfile]) -> None:
        """Subscribes to publishers of these profiles, and no more than that."""
        latched = [qos for qos in publishers if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL]
        wanted = {DurabilityPolicy.TRANSIENT_LOCAL: latched} if latched else {}
        if len(latched) < len(publishers):
            wanted[DurabilityPolicy.VOLATILE] = list(publishers)
        for durability in set(self._subscriptions) - set(wanted):
            self._unsubscribe(durability)
        for durability, matched in wanted.items():
            reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in matched)
            present = self._subscriptions.get(durability)
            # A subscription that matches is not replaced by a stricter one: subscribing again can lose messages.
            if present is None or (present.qos_profile.reliability == ReliabilityPolicy.RELIABLE and not reliable):
                self._subscribe(durability, ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT)

    def _subscribe(self, durability: DurabilityPolicy, reliability: ReliabilityPolicy) -> None:
        self._unsubscribe(durability)
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=self._depth, reliability=reliability, durability=durability
        )
        self._subscriptions[durability] = self._node.create_subscription(
            self._types[self._type],
            self.topic,
            self._receive,
            qos,
            event_callbacks=SubscriptionEventCallbacks(message_lost=partial(self._lost, durability)),
        )
        kind = f"{reliability.name}, {durability.name}".lower().replace("_", " ")
        self._node.get_logger().info(f"subscribed to {self.topic}: {self._type}, {kind}")

    def _unsubscribe(self, durability: DurabilityPolicy) -> None:
        subscription = self._subscriptions.pop(durability, None)
        if subscription is not None:
            self._node.destroy_subscription(subscription)

    def _came_before(self, msg: Any) -> bool:
        """Whether the other subscription has brought the message. One without a header may come twice: a transform
        that is set again stays what it is."""
        if not hasattr(msg, "header"):
            return False
        key = (msg.header.stamp.sec, msg.header.stamp.nanosec, msg.header.frame_id)
        known = len(self._subscriptions) > 1 and key in self._headers
        self._headers.append(key)
        return known

    def _receive(self, msg: Any) -> None:
        if self._came_before(msg):
            return
        self.received += 1
        self._received_at = time.monotonic()
        try:
            self._callback(msg)
        except Exception as error:
            self._statistics.message_unusable(self.topic, error)

    def _lost(self, durability: DurabilityPolicy, event: Any) -> None:
        if durability != DurabilityPolicy.VOLATILE and len(self._subscriptions) > 1:
            return  # the volatile one counts what is lost of all publishers
        if self._on_lost is not None:
            self._on_lost(event.total_count_change)
        else:
            self._statistics.messages_lost(self.topic, event.total_count_change)
