"""Damage, by a seeded generator: to serialized bytes, and to the fields of decoded messages."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

_LENGTHS = (0, 1, 2, 3, 4, 5, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_INTEGERS = (0, 1, 2, 3, 7, 8, 16, 63, 64, 65, 255, 256, 65535, 2**20, 2**31 - 1)
_LARGE = (2**31, 2**32 - 1)
_NUMBERS = (0.0, -1.0, 1.0, 1e-320, 1e-9, 1e9, 1e30, 1e300, -1e300, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    "", " ", "/", "odom", "base_link", "/base_link", "LIDAR_TOP", "CAM_FRONT", "a" * 5000, "\0", "[b]x[/b]", "ü\n",
    "rgb8", "bgr8", "rgba8", "mono8", "mono16", "8UC1", "16UC1", "32FC1", "64FC3", "rgb16", "bayer_rggb8",
    "bayer_gbrg16", "yuv422", "yuv422_yuy2", "nv12", "nv21", "nv24", "i420", "jpeg", "png",
    "bayer_rggb8; jpeg compressed bgr8",
    "rgb8; png compressed", "16UC1; compressedDepth", "plumb_bob", "rational_polynomial", "equidistant", "x", "y", "z",
    "class_id", "label", "intensity",
)  # fmt: skip


def damaged_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    """The bytes cut short, lengthened, flipped, or with a length or number changed; one to three times."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, len(result) + 1))
        match int(rng.integers(0, 8)):
            case 0:
                del result[place:]
            case 1:
                result[place:place] = rng.bytes(int(rng.integers(1, 40)))
            case 2:
                del result[place : place + int(rng.integers(1, 40))]
            case 3 if result:
                result[1 % len(result)] ^= 1  # the other endianness
            case 4 | 5:  # a length or a number; most of them lie near the start
                start = 4 * int(rng.integers(1, max(2, min(len(result), 120 if rng.random() < 0.8 else 10**9) // 4)))
                result[start : start + 4] = int(rng.choice(_LENGTHS)).to_bytes(4, "little")
            case _ if result:
                for index in rng.integers(0, len(result), int(rng.integers(1, 9))):
                    result[int(index)] ^= 1 << int(rng.integers(0, 8))
    return bytes(result)


def damaged_fields(rng: np.random.Generator, message: Any) -> Any:
    """A copy of a decoded message with one to three of its fields changed, of the same types."""
    result = copy.deepcopy(message)
    for _ in range(int(rng.integers(1, 4))):
        leaves = list(_leaves(result))
        owner, name, value = leaves[int(rng.integers(0, len(leaves)))]
        object.__setattr__(owner, name, _damaged(rng, value))
    return result


def _leaves(message: Any) -> Iterator[tuple[Any, str, Any]]:
    for field in dataclasses.fields(message):
        if field.name.startswith("__"):
            continue
        value = getattr(message, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value)
            continue
        yield message, field.name, value
        if isinstance(value, list):
            for item in value:
                if dataclasses.is_dataclass(item):
                    yield from _leaves(item)


def _damaged(rng: np.random.Generator, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = max(0, value + int(rng.integers(-3, 4)))
        return int(rng.choice([*_INTEGERS, *_LARGE, near, near, 2 * value]))
    if isinstance(value, float):
        return float(rng.choice(_NUMBERS))
    if isinstance(value, str):
        return str(rng.choice(_TEXTS))
    if isinstance(value, list):
        kept = value[: int(rng.integers(0, len(value) + 1))]
        return kept + kept if rng.random() < 0.5 else kept
    if value.dtype.kind == "f":
        changed = value.copy()
        changed[rng.integers(0, len(changed))] = rng.choice(_NUMBERS)
        return changed if len(changed) and rng.random() < 0.8 else np.zeros_like(value)
    content = damaged_bytes(rng, value.tobytes())
    return np.frombuffer(content[: len(content) // value.itemsize * value.itemsize], value.dtype)
