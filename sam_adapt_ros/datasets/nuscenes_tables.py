"""nuScenes' tables (JSON files of one list each), read without the devkit.

The two large tables of the full data set (``sample_data``, ``ego_pose``: 2.6 million rows each) do not fit into the
memory of small machines, so rows are read one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam_adapt_ros.errors import BagError

_CHUNK = 1 << 20
_SEPARATORS = re.compile(r"[\s,]*")


class Row(dict[str, Any]):
    """A row of a table. Reading a field that it does not have raises BagError that names table and field."""

    def __init__(self, values: dict[str, Any], path: Path) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise BagError(f"{self.path}: a row has no field {key!r}")


def iterate_rows(path: Path) -> Iterator[Row]:
    """The rows of a table in its order, in memory that does not grow with the file.

    Raises BagError that names the file when it is missing or is not a JSON list of objects.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_CHUNK).lstrip()
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
                    if not chunk:
                        raise BagError(f"{path}: not JSON, or cut short") from None
                    text, position = text[position:] + chunk, 0
                    continue
                if not isinstance(row, dict):
                    raise BagError(f"{path}: a list of objects expected")
                yield Row(row, path)
    except FileNotFoundError:
        raise BagError(f"{path}: table is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: cannot be read: {error}") from None


def find_tables(root: Path, version: str) -> Path:
    """The folder of the tables of a version (``v1.0-mini``, ...); "": of the only one there.

    Raises BagError when there is none, or no only one.
    """
    if not root.is_dir():
        raise BagError(f"{root}: no such folder")
    if version:
        if not (root / version).is_dir():
            raise BagError(f"{root / version}: folder with nuScenes' tables is missing")
        return root / version
    found = sorted(path for path in root.glob("v[0-9]*") if (path / "scene.json").is_file())
    if not found:
        raise BagError(
            f"{root}: no folder with nuScenes' tables in it (v1.0-mini/scene.json, v1.0-trainval/scene.json)"
        )
    if len(found) > 1:
        raise BagError(f"{root}: several versions ({', '.join(path.name for path in found)}); name one")
    return found[0]
