"""rclpy's message classes by name, and quality of service from and to bags."""

from __future__ import annotations

import importlib
import re

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from sam_adapt_ros.bags import Topic

DEPTH = 20
"""Messages a reliable publisher keeps for a subscriber that is behind."""
LATCHED_DEPTH = 1000
"""At most so many messages of a latched topic are kept for subscribers to come."""


def message_class(name: str) -> type | None:
    """The class of ``package/msg/Name``; None where the package is not installed or has no such message."""
    package, _, short = name.partition("/msg/")
    if not re.fullmatch(r"[a-z]\w*", package):
        return None
    try:
        found = getattr(importlib.import_module(f"{package}.msg"), short, None)
    except ImportError:
        return None
    return found if hasattr(found, "get_fields_and_field_types") else None


def qos_of(topic: Topic) -> QoSProfile:
    """The profile to publish a recorded topic with: as its publishers offered it, where the bag has that.

    Where they differ, it is the strongest, which matches every subscription that one of them matched: reliable if one
    of them was, and transient local if one of them was (``/tf_static`` always is). A transient-local one keeps all of
    the topic's messages: they may have come from as many publishers, each of which kept its own.
    """
    best_effort = bool(topic.offered_qos) and all(qos.reliability.name == "BEST_EFFORT" for qos in topic.offered_qos)
    transient_local = topic.transient_local or topic.name == "/tf_static"
    kept = min(topic.count, LATCHED_DEPTH) if transient_local else 0
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max([DEPTH, kept, *(min(qos.depth, LATCHED_DEPTH) for qos in topic.offered_qos)]),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if transient_local else DurabilityPolicy.VOLATILE,
    )
