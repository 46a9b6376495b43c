"""rclpy's message classes by name, and quality of service from and to bags."""

from __future__ import annotations

import importlib

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from sam_adapt_ros.bags import Topic

DEPTH = 20
"""Messages a reliable publisher keeps for a subscriber that is behind."""


def message_class(name: str) -> type | None:
    """The class of ``package/msg/Name``; None where the package is not installed or has no such message."""
    package, _, short = name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), short, None)
    except ImportError:
        return None


def qos_of(topic: Topic) -> QoSProfile:
    """The profile to publish a recorded topic with: as its publishers offered it, where the bag has that.

    Where they differ, it is best effort if one of them was, and transient local if one of them was (``/tf_static``
    always is).
    """
    best_effort = any(qos.reliability.name == "BEST_EFFORT" for qos in topic.offered_qos)
    transient_local = topic.transient_local or topic.name == "/tf_static"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max([DEPTH, *(qos.depth for qos in topic.offered_qos)]),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if transient_local else DurabilityPolicy.VOLATILE,
    )
