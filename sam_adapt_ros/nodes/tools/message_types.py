"""rclpy's message classes by name, and quality of service from and to bags."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

DEPTH = 20
"""Messages a reliable publisher keeps for a subscriber that is behind."""


def message_class(name: str) -> type | None:
    """The class of ``package/msg/Name``; None where the package is not installed or has no such message."""
    package, _, short = name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), short, None)
    except ImportError:
        return None


def qos_of(topic: str, recorded: Sequence[Any]) -> QoSProfile:
    """The profile to publish a recorded topic with: the recorded one, where the bag has it.

    recorded: ``rosbags.interfaces.Qos`` of the publishers of that time, weakest promise first where they differ.
    """
    latched, reliable, depth = topic == "/tf_static", True, DEPTH
    if recorded:
        latched |= all(qos.durability.name == "TRANSIENT_LOCAL" for qos in recorded)
        reliable = all(qos.reliability.name != "BEST_EFFORT" for qos in recorded)
        depth = max(DEPTH, *(qos.depth for qos in recorded))
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
