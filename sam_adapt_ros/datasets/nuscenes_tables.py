"""nuScenes' tables (JSON files of one list each), read without the devkit.

The two large tables of the full data set (``sample_data``, ``ego_pose``: 2.6 million rows each) do not fit into the
memory of small machines, so rows are read one by one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.io.foreign_content import HEAD, placeholder
from sam_adapt_ros.messages.stamps import LATEST_NS

_CHUNK = 1 << 20
_LARGEST_ROW = 16 << 20  # characters; a table that is not JSON is not read to its end in search of a row's
_SEPARATORS = re.compile(r"[\s,]*")
_SHOWN = 60


class Row(dict[str, Any]):
    """A row of a table. Its fields are read by type: a value of another one raises BagError that names table, row and
    field, what was expected and what came; so does reading a field that it does not have."""

    def __init__(self, values: dict[str, Any], path: Path) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise BagError(f"{self.path}: a row has no field {key!r}")

    def text(self, key: str) -> str:
        """A text of printable characters that is not empty: a token, a name, a path."""
        value = self[key]
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.error(key, "a text")
        return value

    def integer(self, key: str, limit: int) -> int:
        """A whole number from 0 up to, not including, ``limit``."""
        value = self[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < limit or value % 1:
            raise self.error(key, f"a whole number from 0 to {limit - 1}")
        return int(value)

    def stamp_ns(self, key: str) -> int:
        """A time [ns]; the tables count microseconds."""
        return self.integer(key, LATEST_NS // 1000) * 1000

    def flag(self, key: str) -> bool:
        value = self[key]
        if value not in (True, False):  # 0 and 1 as well
            raise self.error(key, "true or false")
        return bool(value)

    def numbers(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Finite numbers in nested lists of the shape."""
        try:
            values = np.array(self[key], np.float64)
        except (ValueError, TypeError, OverflowError):  # ragged, no numbers, beyond float64
            raise self.error(key, f"{_times(shape)} numbers") from None
        if values.shape != shape or not np.isfinite(values).all():
            raise self.error(key, f"{_times(shape)} finite numbers")
        return values

    def error(self, key: str, expected: str) -> BagError:
        """Says that a field does not hold what is expected."""
        got = repr(self[key])
        shown = got if len(got) <= _SHOWN else f"{got[:_SHOWN]}..."
        token = str(self.get("token"))[:_SHOWN]
        return BagError(f"{self.path}: row {token!r}: {key}: {expected} expected, got {shown}")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def iterate_rows(path: Path) -> Iterator[Row]:
    """The rows of a table in its order, in memory that does not grow with the file.

    Raises BagError that names the file when it is missing or is not a JSON list of objects.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_CHUNK).lstrip()
            if found := placeholder(text[:HEAD].encode()):
                raise BagError(f"{path}: is {found}")
            if not text.startswith("["):
                raise BagError(f"{path}: a list of objects expected")
            position = 1
            while True:
                match = _SEPARATORS.match(text, position)
                position = match.end() if match else position
                if text.startswith("]", position):
                    return
                try:
                    row, position = decoder.raw_decode(text, position)
                except json.JSONDecodeError:  # the rest of this row comes with the next chunk
                    chunk = file.read(_CHUNK)
                    if not chunk or len(text) - position > _LARGEST_ROW:
                        raise BagError(f"{path}: not JSON, or cut short") from None
                    text, position = text[position:] + chunk, 0
                    continue
                if not isinstance(row, dict):
                    raise BagError(f"{path}: a list of objects expected")
                yield Row(row, path)
    except FileNotFoundError:
        raise BagError(f"{path}: table is missing") from None
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, numbers of thousands of digits, nested too deeply
        raise BagError(f"{path}: not JSON: {str(error)[:_SHOWN]}") from None


@dataclass(frozen=True)
class Tables:
    """The tables of one version, and the files that they name, in one or several roots.

    folder: of the tables, ``v1.0-mini`` and so on. roots: that have ``samples``, ``sweeps``, ``lidarseg``; a table that
    is not in the folder may be in the folder of its name in another root.
    """

    folder: Path
    roots: tuple[Path, ...]

    def path(self, name: str) -> Path:
        """Of a table by its name (``scene``)."""
        own = self.folder / f"{name}.json"
        others = (root / self.folder.name / own.name for root in self.roots)
        return own if own.is_file() else next((path for path in others if path.is_file()), own)

    def rows(self, name: str) -> Iterator[Row]:
        """Of a table, see ``iterate_rows``."""
        return iterate_rows(self.path(name))

    def file(self, name: str) -> Path:
        """A file by its name in a table: in the first root that has it."""
        paths = [root / name for root in self.roots]
        if len(paths) == 1:
            return paths[0]
        return next((path for path in paths if os.path.isfile(path)), paths[0])  # noqa: PTH113 (Path's raises for odd names)


def find_tables(roots: Sequence[Path], version: str = "", preferred: str = "") -> Tables:
    """The tables of a version (``v1.0-mini``, ...); "": of the only one there, or of several the preferred one.

    roots: where the tables and files are. A root may be a version's folder itself; folders in a root that have
    ``samples``, as the archives of the full data set are unpacked side by side, are roots, too.

    Raises BagError when there is none, or no only one.
    """
    for root in roots:
        if not root.is_dir():
            raise BagError(f"{root}: no such folder")
    within = [root for root in roots if (root / "scene.json").is_file()]
    places = [root.parent if root in within else root for root in roots]
    found = within or [path.parent for root in places for path in sorted(root.glob("v[0-9]*/scene.json"))]
    where = ", ".join(map(str, roots))
    if version:
        found = [path for path in found if path.name == version]
        if not found:
            raise BagError(f"{roots[0] / version}: folder with nuScenes' tables is missing")
    if not found:
        raise BagError(
            f"{where}: no folder with nuScenes' tables in it (v1.0-mini/scene.json, v1.0-trainval/scene.json)"
        )
    if len(found) > 1:
        found = [path for path in found if path.name == preferred] or found
    if len(found) > 1:
        raise BagError(f"{where}: several versions ({', '.join(path.name for path in found)}); name one")
    inside = [path.parent for root in places for path in sorted(root.glob("*/samples"))]
    return Tables(found[0], tuple(dict.fromkeys([*places, *inside])))
