"""``sensor_msgs/Image`` and ``CompressedImage`` -> arrays. Any object with the message's attributes will do."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import MessageError

# encoding -> (channels, numpy kind, OpenCV conversion to RGB or None). Names: sensor_msgs/image_encodings.hpp;
# OpenCV-style names without an order mean blue first, as in cv_bridge.
_PACKED: dict[str, tuple[int, str, int | None]] = {
    "rgb8": (3, "u1", None),
    "bgr8": (3, "u1", cv2.COLOR_BGR2RGB),
    "rgba8": (4, "u1", cv2.COLOR_RGBA2RGB),
    "bgra8": (4, "u1", cv2.COLOR_BGRA2RGB),
    "mono8": (1, "u1", cv2.COLOR_GRAY2RGB),
    "mono16": (1, "u2", cv2.COLOR_GRAY2RGB),
    "8uc1": (1, "u1", cv2.COLOR_GRAY2RGB),
    "8uc3": (3, "u1", cv2.COLOR_BGR2RGB),
    "8uc4": (4, "u1", cv2.COLOR_BGRA2RGB),
    "16uc1": (1, "u2", cv2.COLOR_GRAY2RGB),
    "yuv422": (2, "u1", cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, "u1", cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, "u1", cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, "u1", cv2.COLOR_YUV2RGB_YUY2),
    # OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by the first two rows.
    "bayer_rggb8": (1, "u1", cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, "u1", cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, "u1", cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, "u1", cv2.COLOR_BayerGB2RGB),
}
_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
_INSTANCES = {"mono8", "mono16", "8uc1", "16uc1"}

_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_PNG = b"\x89PNG"
_TAIL = 1024  # bytes at the end that must hold the end marker: some cameras pad or append


def decode_image(msg: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; read-only where it is the message's own memory (rgb8). 16-bit greys keep their high byte.

    Raises MessageError with reason ``image_encoding`` (unknown), ``image_layout`` (sizes that contradict each other),
    ``image_truncated`` (a JPEG or PNG without its end) or ``image_damaged``.
    """
    if not hasattr(msg, "encoding"):
        return _to_rgb(_decompress(msg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    encoding = str(msg.encoding).strip().lower()
    if encoding in _PLANAR:
        return _decode_planar(msg, _PLANAR[encoding])
    pixels = _pixels(msg, encoding)
    conversion = _PACKED[encoding][2]
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    if _PACKED[encoding][0] == 2 and pixels.shape[1] % 2:
        raise MessageError("image_layout", f"image {encoding}: an even width expected, got {pixels.shape[1]}")
    if encoding.startswith("bayer") and min(pixels.shape) < 4:
        raise MessageError("image_layout", f"image {encoding}: at least 4 x 4 pixels expected, got {pixels.shape}")
    return _to_rgb(pixels, conversion)


def decode_instances(msg: Any) -> NDArray[np.uint16]:
    """(H, W) uint16 ids from a grey image of 8 or 16 bits, raw or PNG. Raises MessageError as ``decode_image``."""
    if hasattr(msg, "encoding"):
        encoding = str(msg.encoding).strip().lower()
        if encoding not in _INSTANCES:
            raise MessageError("image_encoding", f"instance image: mono16 or mono8 expected, got {msg.encoding!r}")
        pixels = _pixels(msg, encoding)
    else:
        pixels = _decompress(msg, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise MessageError(
            "image_encoding", f"instance image: grey of 8 or 16 bits expected, got {pixels.shape} {pixels.dtype}"
        )
    return np.ascontiguousarray(pixels, np.uint16)


def _pixels(msg: Any, encoding: str) -> NDArray[Any]:
    """(H, W) or (H, W, channels) view of a raw image in the machine's byte order."""
    if encoding not in _PACKED:
        known = ", ".join([*_PACKED, *_PLANAR])
        raise MessageError("image_encoding", f"image: unknown encoding {msg.encoding!r} (known: {known})")
    channels, kind, _ = _PACKED[encoding]
    dtype = np.dtype((">" if msg.is_bigendian else "<") + kind)
    width, height, step = int(msg.width), int(msg.height), int(msg.step)
    row = width * channels * dtype.itemsize
    data = _bytes(msg, encoding, row, height)
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    pixels = np.ndarray((height, width, channels), dtype, data, 0, strides)
    if channels == 1:
        pixels = pixels[:, :, 0]
    return np.ascontiguousarray(pixels, dtype.newbyteorder("="))


def _decode_planar(msg: Any, conversion: int) -> NDArray[np.uint8]:
    """NV12 and NV21: a plane of luma, then one of interleaved chroma at half the resolution."""
    width, height, step = int(msg.width), int(msg.height), int(msg.step)
    if width % 2 or height % 2:
        raise MessageError("image_layout", f"image {msg.encoding}: even sizes expected, got {width} x {height}")
    rows = height + height // 2
    data = _bytes(msg, str(msg.encoding), width, rows)
    planes = np.ndarray((rows, width), np.uint8, data, 0, (step, 1))
    return _to_rgb(np.ascontiguousarray(planes), conversion)


def _bytes(msg: Any, encoding: str, row: int, rows: int) -> NDArray[np.uint8]:
    """The data of a raw image, its sizes checked: ``rows`` rows of ``step`` bytes, of which ``row`` are used."""
    step = int(msg.step)
    if row < 1 or rows < 1:
        raise MessageError(
            "image_layout", f"image {encoding}: a positive size expected, got {msg.width} x {msg.height}"
        )
    if step < row:
        raise MessageError("image_layout", f"image {encoding}: step: at least {row} expected, got {step}")
    data = np.frombuffer(msg.data, np.uint8)
    if len(data) != step * rows:
        raise MessageError("image_layout", f"image {encoding}: data: {step * rows} bytes expected, got {len(data)}")
    return data


def _decompress(msg: Any, flags: int) -> NDArray[Any]:
    """Decodes a JPEG or PNG file with OpenCV (blue first), whatever ``msg.format`` is."""
    data = np.frombuffer(msg.data, np.uint8)
    head, tail = data[:4].tobytes(), data[-_TAIL:].tobytes()
    if len(data) == 0:
        raise MessageError("image_truncated", "compressed image: no data")
    # Decoders silently fill missing parts with grey, so the end marker is looked for here. (It cannot occur within the
    # compressed picture: JPEG escapes it there.)
    if head.startswith(_JPEG) and _JPEG_END not in tail:
        raise MessageError("image_truncated", f"compressed image: JPEG of {len(data)} bytes without its end")
    if head.startswith(_PNG) and b"IEND" not in tail:
        raise MessageError("image_truncated", f"compressed image: PNG of {len(data)} bytes without its end")
    try:
        pixels = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION if flags >= 0 else flags)
    except cv2.error as error:
        raise MessageError("image_damaged", f"compressed image ({msg.format}): {error.err}") from None
    if pixels is None:
        if head.startswith((_JPEG, _PNG)):
            raise MessageError("image_damaged", f"compressed image ({msg.format}): cannot be decoded")
        raise MessageError("image_encoding", f"compressed image: JPEG or PNG expected, got format {msg.format!r}")
    return pixels


def _to_rgb(pixels: NDArray[Any], conversion: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)
