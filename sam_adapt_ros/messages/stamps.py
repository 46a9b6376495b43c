"""Header stamps as integers: nanoseconds since the epoch of whatever clock the sensor driver uses."""

from __future__ import annotations

import struct
from typing import Any

from sam_adapt_ros.geometry.poses import SECOND

LATEST_NS = 2**31 * SECOND
"""Every stamp is below: ``builtin_interfaces/Time`` counts seconds in 32 bits with a sign."""


def stamp_ns(header: Any) -> int:
    """The stamp [ns] of a ``std_msgs/Header``, of rclpy or of rosbags."""
    return int(header.stamp.sec) * SECOND + int(header.stamp.nanosec)


def serialized_stamp_ns(data: bytes | memoryview) -> int:
    """The stamp [ns] of a serialized message whose first field is a ``std_msgs/Header``; the rest is not decoded.

    data: CDR. Four bytes of encapsulation header come first; the lowest bit of the second one is set for little-endian
    (OMG DDSI-RTPS 2.5, section 10.2). The header's first field, ``builtin_interfaces/Time``, follows.

    Raises ValueError when the data end before the stamp does.
    """
    if len(data) < 12:
        raise ValueError(f"serialized message: a header stamp needs 12 bytes, got {len(data)}")
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return seconds * SECOND + nanoseconds
