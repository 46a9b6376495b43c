"""Files of a data set: whether they are there and fit onto a disk, their content, and the size of images."""

from __future__ import annotations

import io
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.io.foreign_content import HEAD, placeholder
from sam_adapt_ros.notices import Notices

_SPACE_FACTOR = 1.1  # messages are larger than the files they come from: headers, label clouds, the index
_SPACE_SPARE = 64 << 20


def read_file(path: Path) -> bytes:
    """The content of a file. Raises BagError that names it when it is missing, unreadable, empty or a placeholder."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise BagError(f"{path}: is empty")
    if found := placeholder(data[:HEAD]):
        raise BagError(f"{path}: is {found}")
    return data


def read_text(path: Path) -> str:
    """As ``read_file``, of a text, without a byte order mark; bytes that are not UTF-8 are replaced."""
    return read_file(path).decode("utf-8-sig", "replace")


def numbered_files(
    folder: Path, suffixes: Sequence[str], notices: Notices, digits: int = 10, hint: str = ""
) -> dict[int, Path]:
    """The files of a folder that are named by their number, such as ``0000000012.png``, in its order.

    suffixes: in lower case; where several files have a number, the one with the first suffix is taken. Hidden files,
    such as the ``._0000000012.png`` of macOS, are passed over; ``notices`` is told of any other file that is not used.
    digits, hint: for errors: of a number, and what to do.
    Raises BagError that names the folder, and what is there instead, when there is no such file.
    """
    try:
        visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        visible = []
    found: dict[int, Path] = {}
    for suffix in suffixes:
        for path in visible:
            if path.suffix.lower() == suffix and path.stem.isascii() and path.stem.isdecimal():
                found.setdefault(int(path.stem), path)
    expected = f"files named by their number ({', '.join('0' * digits + suffix for suffix in suffixes)})"
    unused = [path.name for path in visible if path not in set(found.values())]
    if not found:
        instead = f"; it has {len(unused)} others, such as {unused[0]}" if unused else ""
        raise BagError(f"{folder}: no files: {expected} expected{instead}{hint}")
    if unused:
        notices.add(
            f"unused_files:{folder.parent.name}",
            f"{folder}: {len(unused)} files are not used, such as {unused[0]}: {expected} expected, one a number",
        )
    return dict(sorted(found.items()))


def missing_files(paths: Iterable[Path]) -> str:
    """Names the first files that are missing, and how many are; "" where all are there."""
    missing = [str(path) for path in paths if not os.path.isfile(path)]  # noqa: PTH113 (Path's raises for odd names)
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"missing files: {', '.join(missing[:3])}{more}" if missing else ""


def total_size(paths: Iterable[Path]) -> int:
    """Bytes of all files. Raises BagError that names the first ones that are missing, and how many are."""
    paths = list(paths)
    if missing := missing_files(paths):
        raise BagError(missing)
    return sum(path.stat().st_size for path in paths)


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are compared with the calibration's
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                return image.width, image.height, str(image.format).lower()
    except Exception as error:  # Pillow raises errors of many types on damaged headers
        raise BagError(f"{name}: the header of a JPEG or PNG file expected: {error}") from None
