"""JPEG and PNG files, as ``sensor_msgs/CompressedImage`` has them -> pixels; files without their end are refused."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import MessageError

_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_SCAN = 0xDA  # the marker that begins compressed pixels
_PNG = b"\x89PNG"
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


def _kind(data: bytes) -> str:
    return "JPEG" if data.startswith(_JPEG) else "PNG" if data.startswith(_PNG) else ""


def _start_of_scan(data: bytes) -> int:
    """Where a JPEG's compressed pixels begin, in which an end marker cannot occur by chance (ISO 10918-1, B.1.1).

    The segments before them may hold whole JPEGs, such as thumbnails, so they are skipped by their lengths.
    """
    at = len(_JPEG)
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1 : at + 2]
        if marker == b"\xff":  # fill byte
            at += 1
        elif not marker or marker[0] in (_SCAN, _JPEG_END[1]):
            break
        else:
            at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    return at
