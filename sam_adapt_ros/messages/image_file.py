"""JPEG and PNG files, as ``sensor_msgs/CompressedImage`` has them -> pixels; files without their end are refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import MessageError

_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_SCAN = 0xDA  # the marker that begins compressed pixels
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers whose segment has the size
_PNG = b"\x89PNG"
_PNG_SIZE = 16  # where a PNG has it
_PNG_END = b"IEND"


def decode_file(data: bytes, image_format: str, flags: int) -> NDArray[Any]:
    """The pixels of a JPEG or PNG, colours in OpenCV's order (blue first). Whatever follows the file's end is ignored.

    image_format: the message's, for errors; what the file is, its first bytes say. flags: OpenCV's ``IMREAD_…``.
    Raises MessageError: ``image_truncated``, ``image_damaged`` or ``image_encoding`` (neither JPEG nor PNG).
    """
    if not data:
        raise MessageError("image_truncated", "compressed image: no data")
    kind = _kind(data)
    if not is_whole(data):
        raise MessageError("image_truncated", f"compressed image: {kind} of {len(data)} bytes without its end")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise MessageError("image_damaged", f"compressed image ({image_format}): {error.err}") from None
    if pixels is None:
        if kind:
            raise MessageError("image_damaged", f"compressed image ({image_format}): cannot be decoded")
        raise MessageError("image_encoding", f"compressed image: JPEG or PNG expected, got format {image_format!r}")
    return pixels


def is_whole(data: bytes) -> bool:
    """Whether a JPEG or PNG is there to its end: decoders silently fill what is missing with grey."""
    if data.startswith(_JPEG):
        return _JPEG_END in data[_start_of_scan(data) :]
    return _PNG_END in data or not data.startswith(_PNG)


def file_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG or PNG; None where there is no whole header."""
    if data.startswith(_PNG):
        return struct.unpack_from(">II", data, _PNG_SIZE) if len(data) >= _PNG_SIZE + 8 else None
    if data.startswith(_JPEG):
        for marker, at in _segments(data):
            if marker in _FRAMES and len(data) >= at + 9:
                height, width = struct.unpack_from(">HH", data, at + 5)
                return width, height
    return None


def _kind(data: bytes) -> str:
    return "JPEG" if data.startswith(_JPEG) else "PNG" if data.startswith(_PNG) else ""


def _start_of_scan(data: bytes) -> int:
    """Where a JPEG's compressed pixels begin, in which an end marker cannot occur by chance (ISO 10918-1, B.1.1).

    The segments before them may hold whole JPEGs, such as thumbnails, so they are skipped by their lengths.
    """
    return [at for _, at in _segments(data)][-1]


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The marker and the place of each segment of a JPEG up to its first scan or its end; marker 0: there is none."""
    at = len(_JPEG)
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill byte
            at += 1
        marker = data[at + 1] if data[at : at + 1] == b"\xff" and at + 1 < len(data) else 0
        yield marker, at
        if marker in (0, _SCAN, _JPEG_END[1]):
            return
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
