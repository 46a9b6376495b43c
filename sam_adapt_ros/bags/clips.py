"""A drive in several bags: a list of bags, or folders of them, as one list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sam_adapt_ros.bags.message_reader import BAG_FILES, MessageReader
from sam_adapt_ros.bags.rosbag2_folder import METADATA
from sam_adapt_ros.errors import BagError


def find_bags(paths: Iterable[str | Path]) -> list[Path]:
    """Every bag of the paths, in their order. A folder that is no bag stands for the bags in it, by name, with numbers
    in their order; what cannot be read of them is for the caller to say.

    Raises BagError for a folder in which there is no bag; a path that does not exist is left to whoever reads it.
    """
    bags: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir() or (path / METADATA).is_file():
            bags.append(path)
            continue
        inside = [each for each in path.iterdir() if _is_bag(each)]
        if not inside:
            raise BagError(f"{path}: a bag or a folder of bags expected, it has neither {METADATA} nor a bag in it")
        bags += sorted(inside, key=_natural)
    return bags


def readable_bags(bags: Sequence[Path]) -> list[Path]:
    """Those of several bags that can be opened; a single one must be. Raises BagError when none can."""
    readable: list[Path] = []
    error: BagError | None = None
    for bag in bags:
        try:
            with MessageReader(bag):
                readable.append(bag)
        except BagError as refused:
            error = error or refused
    if error is not None and not readable:
        raise error
    return readable


def _is_bag(path: Path) -> bool:
    """Also one whose recording was cut off before ``metadata.yaml`` was written: it is not passed over in silence."""
    if path.is_dir():
        return (path / METADATA).is_file() or any(each.suffix in BAG_FILES for each in path.iterdir())
    return path.suffix in BAG_FILES


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts ``drive-2`` before ``drive-10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
