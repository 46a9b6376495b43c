"""``diagnostic_msgs``: statuses are built from nested mappings, and read back into the same."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import psutil
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

HARDWARE_ID = "sam_adapt_ros"


def status(level: bytes, name: str, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    """One status. values: may be nested; ``{"dropped": {"overload": 1}}`` becomes the key ``dropped.overload``."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in flattened(values).items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=HARDWARE_ID, values=pairs)


def diagnostic_array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """The message, stamped with a ``builtin_interfaces/Time``."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted keys, numbers rounded to four digits. Lists, None and numbers that are not finite are
    left out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            if math.isfinite(value):
                flat[f"{prefix}{key}"] = round(value, 4)
        elif isinstance(value, int | str):
            flat[f"{prefix}{key}"] = value
    return flat


def read_diagnostics(msg: Any, node: str = "segmenter") -> dict[str, Any]:
    """The values of all statuses of ``node`` in a DiagnosticArray (rclpy's or rosbags'), nested, numbers as numbers.

    For example ``{"frames_in": 5, "dropped": {"overload": 1}, "latency_ms": {"total": {"p50": 3.2, ...}}, ...}``; empty
    when the array holds no status of that node.
    """
    nested: dict[str, Any] = {}
    for each in msg.status:
        if not each.name.startswith(f"{node}: "):
            continue
        for pair in each.values:
            *sections, leaf = pair.key.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[leaf] = _number(pair.value)
    return nested


def process_memory_mb() -> float:
    """Resident memory of this process."""
    return round(psutil.Process(os.getpid()).memory_info().rss / 1e6, 1)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
