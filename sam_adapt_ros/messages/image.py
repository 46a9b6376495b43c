"""``sensor_msgs/Image`` and ``CompressedImage`` -> arrays. Any object with the message's attributes will do."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import MessageError
from sam_adapt_ros.messages.image_file import decode_file, file_size

# encoding -> (channels, numpy kind, OpenCV conversion to RGB or None). Names: sensor_msgs/image_encodings.hpp;
# OpenCV-style names without an order mean blue first, as in cv_bridge.
_PACKED: dict[str, tuple[int, str, int | None]] = {
    "rgb8": (3, "u1", None),
    "bgr8": (3, "u1", cv2.COLOR_BGR2RGB),
    "rgba8": (4, "u1", cv2.COLOR_RGBA2RGB),
    "bgra8": (4, "u1", cv2.COLOR_BGRA2RGB),
    "rgb16": (3, "u2", None),
    "bgr16": (3, "u2", cv2.COLOR_BGR2RGB),
    "rgba16": (4, "u2", cv2.COLOR_RGBA2RGB),
    "bgra16": (4, "u2", cv2.COLOR_BGRA2RGB),
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
}
# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by the first two rows.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_PACKED |= {f"bayer_{name}8": (1, "u1", conversion) for name, conversion in _BAYER.items()}
_PACKED |= {f"bayer_{name}16": (1, "u2", conversion) for name, conversion in _BAYER.items()}
_MOSAIC = re.compile(f"bayer_({'|'.join(_BAYER)})(8|16)")  # in the format of a compressed image
# Planes of chroma at half the resolution behind the luma: OpenCV conversion, and how many.
_PLANAR = {
    "nv12": (cv2.COLOR_YUV2RGB_NV12, 1),
    "nv21": (cv2.COLOR_YUV2RGB_NV21, 1),
    "i420": (cv2.COLOR_YUV2RGB_I420, 2),
    "yv12": (cv2.COLOR_YUV2RGB_YV12, 2),
}
_NV24 = "nv24"
# RGB of y, u, v and 1: ITU-R BT.601 with limited range, as OpenCV converts the other YUV layouts.
_BT601 = np.array([[1.164, 0.0, 1.596], [1.164, -0.391, -0.813], [1.164, 2.018, 0.0]])
_BT601 = np.column_stack([_BT601, _BT601 @ (-16.0, -128.0, -128.0)])
_INSTANCES = {"mono8", "mono16", "8uc1", "16uc1"}


def decode_image(msg: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; read-only where it is the message's own memory (rgb8). Of 16 bits the high byte is kept.

    Raises MessageError with reason ``image_encoding`` (unknown), ``image_layout`` (sizes that contradict each other),
    ``image_truncated`` (a JPEG or PNG without its end) or ``image_damaged``.
    """
    if not hasattr(msg, "encoding"):
        return _decode_compressed(msg)
    encoding = str(msg.encoding).strip().lower()
    if encoding in _PLANAR:
        return _decode_planar(msg, *_PLANAR[encoding])
    if encoding == _NV24:
        return _decode_nv24(msg)
    return _to_rgb(_pixels(msg, encoding), encoding, _PACKED[encoding][2])


def decode_instances(msg: Any) -> NDArray[np.uint16]:
    """(H, W) uint16 ids from a grey image of 8 or 16 bits, raw or PNG. Raises MessageError as ``decode_image``."""
    if hasattr(msg, "encoding"):
        encoding = str(msg.encoding).strip().lower()
        if encoding not in _INSTANCES:
            raise MessageError("image_encoding", f"instance image: mono16 or mono8 expected, got {msg.encoding!r}")
        pixels = _pixels(msg, encoding)
    else:
        pixels = decode_file(bytes(msg.data), str(msg.format), cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise MessageError(
            "image_encoding", f"instance image: grey of 8 or 16 bits expected, got {pixels.shape} {pixels.dtype}"
        )
    return np.ascontiguousarray(pixels, np.uint16)


def declared_size(msg: Any) -> tuple[int, int] | None:
    """Width and height that the file in a CompressedImage declares; None of raw images, and where it declares none."""
    return None if hasattr(msg, "encoding") else file_size(bytes(msg.data))


def _decode_compressed(msg: Any) -> NDArray[np.uint8]:
    """A grey file of a Bayer camera is its mosaic, as image_transport compresses it; the format names the pattern."""
    image_format = str(msg.format)
    mosaic = _MOSAIC.search(image_format.lower())
    color = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if mosaic else cv2.IMREAD_COLOR
    pixels = decode_file(bytes(msg.data), image_format, color | cv2.IMREAD_IGNORE_ORIENTATION)
    if mosaic and pixels.ndim == 2:
        return _to_rgb(pixels, mosaic[0], _BAYER[mosaic[1]])
    return _to_rgb(pixels, "bgr8", cv2.COLOR_BGR2RGB)


def _pixels(msg: Any, encoding: str) -> NDArray[Any]:
    """(H, W) or (H, W, channels) view of a raw image in the machine's byte order."""
    if encoding not in _PACKED:
        known = ", ".join([*_PACKED, *_PLANAR, _NV24])
        raise MessageError("image_encoding", f"image: unknown encoding {msg.encoding!r} (known: {known})")
    channels, kind, _ = _PACKED[encoding]
    dtype = np.dtype((">" if msg.is_bigendian else "<") + kind)
    width, height = int(msg.width), int(msg.height)
    data, step = _rows(msg, encoding, width * channels * dtype.itemsize, height)
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    pixels = np.ndarray((height, width, channels), dtype, data, 0, strides)
    if channels == 1:
        pixels = pixels[:, :, 0]
    return np.ascontiguousarray(pixels, dtype.newbyteorder("="))


def _decode_planar(msg: Any, conversion: int, planes: int) -> NDArray[np.uint8]:
    """A plane of luma, then one of interleaved chroma, or two of one chroma each, at half the resolution."""
    width, height = int(msg.width), int(msg.height)
    data, step = _rows(msg, str(msg.encoding), width, height + height // 2)
    if width % 2 or height % 2 or step % planes:
        expected = "even sizes" if planes == 1 else "even sizes and step"
        raise MessageError(
            "image_layout", f"image {msg.encoding}: {expected} expected, got {width} x {height}, step {step}"
        )
    luma = np.ndarray((height, width), np.uint8, data, 0, (step, 1))
    chroma = np.ndarray((planes * height // 2, width // planes), np.uint8, data, step * height, (step // planes, 1))
    together = np.concatenate([luma, chroma.reshape(height // 2, width)])
    return np.asarray(cv2.cvtColor(together, conversion), np.uint8)


def _decode_nv24(msg: Any) -> NDArray[np.uint8]:
    """A plane of luma, then one of interleaved chroma at the same resolution."""
    width, height = int(msg.width), int(msg.height)
    data, step = _rows(msg, _NV24, width, 3 * height)
    luma = np.ndarray((height, width, 1), np.uint8, data, 0, (step, 1, 1))
    chroma = np.ndarray((height, width, 2), np.uint8, data, step * height, (2 * step, 2, 1))
    return np.asarray(cv2.transform(np.concatenate([luma, chroma], axis=2), _BT601), np.uint8)


def _rows(msg: Any, encoding: str, row: int, rows: int) -> tuple[NDArray[np.uint8], int]:
    """The data of a raw image and the bytes from row to row: ``rows`` of them, of which ``row`` bytes are used.

    Where the data is exactly the rows' bytes, there is no padding, whatever the message's ``step`` says.
    """
    step = int(msg.step)
    if row < 1 or rows < 1:
        raise MessageError(
            "image_layout", f"image {encoding}: a positive size expected, got {msg.width} x {msg.height}"
        )
    data = np.frombuffer(msg.data, np.uint8)
    if len(data) == row * rows:
        return data, row
    if step < row:
        raise MessageError("image_layout", f"image {encoding}: step: at least {row} expected, got {step}")
    if len(data) != step * rows:
        raise MessageError("image_layout", f"image {encoding}: data: {step * rows} bytes expected, got {len(data)}")
    return data, step


def _to_rgb(pixels: NDArray[Any], encoding: str, conversion: int | None) -> NDArray[np.uint8]:
    """conversion: OpenCV's; None: the pixels are RGB already."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    if pixels.ndim == 3 and pixels.shape[2] == 2 and pixels.shape[1] % 2:
        raise MessageError("image_layout", f"image {encoding}: an even width expected, got {pixels.shape[1]}")
    if encoding.startswith("bayer") and min(pixels.shape) < 4:
        raise MessageError("image_layout", f"image {encoding}: at least 4 x 4 pixels expected, got {pixels.shape}")
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)
