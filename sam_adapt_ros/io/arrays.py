"""NumPy arrays on disk: an ``.npz`` with facts as JSON and the arrays, written atomically and never unpickled."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.io.store_errors import store_errors

Arrays = dict[str, NDArray[Any]]
_FACTS = "facts"
# What NumPy and zipfile raise on damaged files.
UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def save_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any] | None = None,
    compress: bool = False,
) -> None:
    """Writes arrays by name, and facts that JSON can hold. Raises StoreError that names the file."""
    entries = dict(arrays)
    if facts is not None:
        entries[_FACTS] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    packed = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(packed, **entries)  # type: ignore[arg-type]
    with store_errors(path):
        write_atomically(path, packed.getvalue())


def load_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the facts that ``save_arrays`` wrote; a file without facts has none.

    Raises:
        StoreError: ``missing`` or ``damaged``, naming the file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop(_FACTS).tobytes()) if _FACTS in arrays else {}
        if not isinstance(facts, dict):
            raise ValueError(f"{_FACTS}: a mapping expected")
        return arrays, facts
    except FileNotFoundError:
        raise StoreError("missing", f"{path}: no such file") from None
    except UNREADABLE as error:
        raise StoreError("damaged", f"{path}: cannot be read ({type(error).__name__}: {error})") from None
