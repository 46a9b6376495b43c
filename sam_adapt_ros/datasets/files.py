"""Files of a data set: whether they are there and fit onto a disk, their content, and the size of images."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

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
    """Raises BagError when the file system of ``output`` lacks the space for about ``size`` bytes."""
    folder = output.absolute()
    while not folder.exists():
        folder = folder.parent
    needed = int(size * _SPACE_FACTOR) + _SPACE_SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BagError(f"{output}: about {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free on its disk")


def image_size(data: bytes, name: Path | str) -> tuple[int, int, str]:
    """Width, height and format (``jpeg`` or ``png``) from the header of an image file; no pixel is decoded.

    Raises BagError that names the file when its header is neither a JPEG's nor a PNG's, or is cut short.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return image.width, image.height, str(image.format).lower()
    except (OSError, SyntaxError) as error:
        raise BagError(f"{name}: the header of a JPEG or PNG file expected: {error}") from None
