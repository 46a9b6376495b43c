"""What the data-set converters share: files that must be there, room on the disk, image sizes from their headers."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

from sam_adapt_ros.errors import BagError

_SPACE_FACTOR = 1.1  # messages are larger than the files they come from: headers, label clouds, the index
_SPACE_SPARE = 64 << 20


def read_file(path: Path) -> bytes:
    """The content of a file. Raises BagError that names it when it is missing, unreadable or empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise BagError(f"{path}: is empty")
    return data


def total_size(paths: Iterable[Path]) -> int:
    """Bytes of all files. Raises BagError that names the first ones that are missing, and how many are."""
    size, missing = 0, []
    for path in paths:
        try:
            size += path.stat().st_size
        except OSError:
            missing.append(path)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise BagError(f"missing files: {', '.join(map(str, missing[:3]))}{more}")
    return size


def check_space(output: Path, size: int) -> None:
    """Raises BagError when the file system that ``output`` will be on has no room for about ``size`` bytes."""
    folder = output.absolute()
    while not folder.exists():
        folder = folder.parent
    needed = int(size * _SPACE_FACTOR) + _SPACE_SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BagError(f"{output}: about {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free on its disk")


def image_size(data: bytes, name: Path | str) -> tuple[int, int, str]:
    """Width, height and format (``jpeg`` or ``png``) from an image's header; nothing is decoded.

    Raises BagError that names the file when it is neither, or cut short within its header.
    """
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height, "png"
        if data[:2] == b"\xff\xd8":
            width, height = _jpeg_size(data)
            return width, height, "jpeg"
    except (struct.error, IndexError):
        raise BagError(f"{name}: cut short within its header") from None
    raise BagError(f"{name}: a JPEG or PNG file expected")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walks the marker segments up to the frame header (SOF0 to SOF15 but DHT, JPG and DAC)."""
    position = 2
    while True:
        while data[position] != 0xFF or data[position + 1] == 0xFF:  # fill bytes
            position += 1
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + length
