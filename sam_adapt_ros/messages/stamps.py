"""Header stamps as integers."""

from __future__ import annotations

from typing import Any


def stamp_ns(header: Any) -> int:
    """Nanoseconds of a ``std_msgs/Header``'s stamp."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
