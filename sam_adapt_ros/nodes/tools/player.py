"""Publishes a bag over DDS, where there is no ``ros2 bag play``: the recorded bytes, at the recorded pace.

Unlike rosbag2's player it publishes no second ``/clock``, does not wait out a leap of the recorder's clock, and offers
the strongest of the recorded profiles where they differ.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.type_support import NoTypeSupportImportedException

from sam_adapt_ros.bags import MessageReader, RawMessage
from sam_adapt_ros.errors import BagError, MessageError
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode
from sam_adapt_ros.nodes.tools.clock_source import CLOCK, ClockSource
from sam_adapt_ros.nodes.tools.message_types import message_class, qos_of

logger = logging.getLogger(__name__)

CLOCK_HZ = 100.0
LOOP_PAUSE_S = 0.1
"""Between the end of the bag and its next start: a bag of one message is not a flood. rosbag2 takes as long."""
LEAP_NS = 24 * 3600 * SECOND
"""A longer pause is no pause: the recorder's clock was set, or a message was logged at time 0."""
ACKNOWLEDGED_S = 2.0
"""How long the last messages are waited for to arrive."""
SETTLE_S = 0.3
"""From the discovery of the last subscriber to the first message: the subscriber has to discover this node, too."""


@dataclass
class Played:
    """What was published (messages by topic), and what was not (topic -> why)."""

    published: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: bool = False


def play(
    bag: str | Path,
    *,
    rate: float = 1.0,
    loop: int = 1,
    clock: bool = False,
    topics: Sequence[str] | None = None,
    wait_for: Sequence[str] = (),
    subscribers: Sequence[str] = (),
    wait_timeout: float = 60.0,
    ready: Callable[[], Sequence[str] | None] = lambda: None,
    stop: threading.Event | None = None,
) -> Played:
    """Publishes a bag's messages from a node named ``player``, in a context of its own.

    rate: times the recorded speed. loop: how often it is played; 0: until ``stop``. clock: ``/clock`` is published.
    topics: only these; None: all whose message package is installed.
    wait_for: topics that must have a subscriber before the bag starts, for at most ``wait_timeout`` seconds.
    subscribers: names, full or not, of nodes that must each have subscribed to them; (): any one will do.
    ready: called then; the bag starts when it returns, and when the nodes that it names have subscribed, too.
    clock gives way to a ``/clock`` that the bag holds or that somebody else publishes.
    Raises BagError when the bag cannot be read, holds nothing to publish, or has no subscriber in time.
    """
    if not (rate > 0 and math.isfinite(rate)):
        raise BagError(f"rate: a positive number expected, got {rate}")
    if loop < 0:
        raise BagError(f"loop: a number of times, or 0 (forever) expected, got {loop}")
    with MessageReader(bag) as reader, _Player(reader, rate, clock, stop or threading.Event()) as player:
        player.advertise(topics)
        player.wait_for_subscribers(wait_for, subscribers, wait_timeout)
        player.wait_for_subscribers(wait_for, ready() or (), wait_timeout)
        player.settle()
        return player.play(loop)


class _Player(BackgroundNode):
    name = "player"

    def __init__(self, reader: MessageReader, rate: float, clock: bool, stop: threading.Event) -> None:
        self._reader, self._rate, self._has_clock, self._stop = reader, rate, clock, stop
        self._leap_told = False
        self._played = Played()
        self._publishers: dict[str, Publisher] = {}

    def _connect(self, node: Node) -> None:
        self._clock = ClockSource(node, self._has_clock)

    def advertise(self, topics: Sequence[str] | None) -> None:
        """Creates the publishers. Raises BagError when there is nothing to publish."""
        for topic in self._reader.topics.values():
            if topics is not None and topic.name not in topics:
                continue
            message_type = message_class(topic.msgtype)
            if message_type is None:
                self._skip(topic.name, f"no message package for {topic.msgtype} is installed")
                continue
            try:
                self._publishers[topic.name] = self._node.create_publisher(message_type, topic.name, qos_of(topic))
            except (NameValidationException, NoTypeSupportImportedException, RuntimeError) as error:
                self._skip(topic.name, " ".join(str(error).split()))
        if not self._publishers:
            names = ", ".join(self._reader.topics) or "none"
            raise BagError(f"{self._reader.path}: nothing to publish (topics: {names})")

    def play(self, loop: int) -> Played:
        self._clock.settle(bag_has_one=CLOCK in self._publishers)
        start = time.monotonic()
        rounds = 0
        while not self._stop.is_set() and (loop == 0 or rounds < loop):
            if rounds:
                self._stop.wait(LOOP_PAUSE_S)
            self._play_once()
            rounds += 1
            if not self._played.published and not self._stop.is_set():
                raise BagError(f"{self._reader.path}: no message of {', '.join(self._publishers)} can be published")
        deadline = time.monotonic() + ACKNOWLEDGED_S
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=max(0.0, deadline - time.monotonic())))
        self._played.seconds = time.monotonic() - start
        self._played.stopped = self._stop.is_set()
        return self._played

    def wait_for_subscribers(self, topics: Sequence[str], nodes: Sequence[str], timeout: float) -> None:
        """Raises BagError when a topic is not subscribed to in time, by each of the nodes where they are named."""
        unknown = [topic for topic in topics if topic not in self._publishers]
        if unknown:
            raise BagError(f"{self._reader.path}: {', '.join(unknown)}: not among the topics that are played")
        deadline = time.monotonic() + timeout
        missing = list(topics)
        logged = 0.0
        names = " and ".join(nodes)
        while missing and not self._stop.is_set():
            missing = [topic for topic in missing if not self._has_subscribers(topic, nodes)]
            if time.monotonic() > deadline and missing:
                raise BagError(f"{', '.join(missing)}: not subscribed to by {names or 'any node'} within {timeout:g} s")
            if missing and time.monotonic() - logged > 5.0:
                logged = time.monotonic()
                logger.info("waiting for %s to subscribe to %s", names or "a node", ", ".join(missing))
            self._stop.wait(0.05)

    def settle(self) -> None:
        """Waits until the last subscriber has discovered this node as well."""
        self._stop.wait(SETTLE_S)

    def _has_subscribers(self, topic: str, nodes: Sequence[str]) -> bool:
        if not nodes:
            return self._publishers[topic].get_subscription_count() > 0
        found = self._node.get_subscriptions_info_by_topic(topic)
        names = {name for i in found for name in (i.node_name, f"{i.node_namespace.rstrip('/')}/{i.node_name}")}
        # The graph may show a subscription before it is connected with the publisher.
        return names.issuperset(nodes) and self._publishers[topic].get_subscription_count() >= len(nodes)

    def _skip(self, topic: str, reason: str) -> None:
        if topic not in self._played.skipped:
            logger.warning("%s is not played: %s", topic, reason)
        self._played.skipped[topic] = reason

    def _play_once(self) -> None:
        start = newest = 0
        began = 0.0
        for message in self._reader.messages(self._publishers):
            log_time = message.log_time_ns
            leap = log_time - newest
            if began == 0.0 or leap > LEAP_NS:
                if began and not self._leap_told:
                    self._leap_told = True
                    days = leap / LEAP_NS
                    logger.warning("%s: its time leaps by %.0f days: played on at once", self._reader.path, days)
                began, start = time.monotonic(), log_time
            newest = max(newest, log_time)
            self._sleep_until(newest, began, start)
            if self._stop.is_set():
                return
            self._publish(message)

    def _publish(self, message: RawMessage) -> None:
        topic = message.topic
        try:
            data = bytes(message.cdr())
            if topic == CLOCK and not self._clock.admits(data):
                self._played.skipped[topic] = "somebody else publishes it"
                return
            self._publishers[topic].publish(data)
        except (MessageError, RuntimeError) as error:  # the latter: what the middleware refuses
            if topic not in self._played.skipped:
                logger.warning("messages of %s are left out: %s", topic, error)
            self._played.skipped[topic] = str(error)
            return
        self._played.published[topic] += 1

    def _sleep_until(self, timestamp: int, start: float, start_timestamp: int) -> None:
        """Sleeps until the message's turn; the clock ticks meanwhile, and once more at the turn itself."""
        due = start + (timestamp - start_timestamp) * 1e-9 / self._rate
        while not self._stop.is_set() and (left := due - time.monotonic()) > 0:
            if not self._clock.ticks:
                self._stop.wait(left)
                continue
            self._clock.tick(start_timestamp + round((time.monotonic() - start) * self._rate * 1e9))
            self._stop.wait(min(left, 1.0 / CLOCK_HZ))
        self._clock.tick(timestamp)
