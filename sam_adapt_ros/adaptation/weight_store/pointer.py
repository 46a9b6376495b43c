"""The pointer file ``current``: which weights are in use, and which they go back to."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.atomic_write import write_atomically

POINTER_FILE = "current"
FORMAT = 1
_HISTORY = 50  # promoted versions that are remembered; beyond that a rollback ends at the source


@dataclass(frozen=True)
class Pointer:
    """One consistent state of a store; names are file names of versions.

    source: the model as shipped, the end of every rollback. current: what is in use.
    history: what was in use before, oldest first, without the source. Only the last is sure to be kept (``previous``).
    number: no version with a higher number had been there when the pointer was written.
    reason: why it was last changed. changed: when, ISO 8601, UTC.
    """

    source: str
    current: str
    history: tuple[str, ...] = ()
    number: int = 0
    reason: str = ""
    changed: str = ""

    @property
    def previous(self) -> str:
        """What a rollback goes back to; "" when the source is in use."""
        if self.current == self.source:
            return ""
        return self.history[-1] if self.history else self.source

    def promoted(self, name: str) -> Pointer:
        """With ``name`` in use. The source starts the history anew: nothing comes before it."""
        if name == self.source:
            return replace(self, current=name, history=())
        before = [*self.history, self.current]
        history = tuple(version for version in before if version not in (name, self.source))
        return replace(self, current=name, history=history[-_HISTORY:])

    def rolled_back(self) -> Pointer:
        """With the previous version in use, and the one before that as previous."""
        return replace(self, current=self.previous, history=self.history[:-1])

    def without(self, names: Collection[str]) -> Pointer:
        """With a history that does not name versions that are gone."""
        return replace(self, history=tuple(version for version in self.history if version not in names))


def read_pointer(folder: Path) -> Pointer:
    """Raises StoreError: ``missing`` where there is none yet, ``damaged`` where it cannot be understood."""
    path = folder / POINTER_FILE
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise StoreError("damaged", f"{path}: format: {FORMAT} expected, got {data['format']!r}")
        names = [data["source"], data["current"], *data["history"]]
        if not all(isinstance(name, str) and name and Path(name).name == name for name in names):
            raise ValueError("names of files in the store expected")
        return Pointer(
            data["source"],
            data["current"],
            tuple(data["history"]),
            int(data["number"]),
            str(data["reason"]),
            str(data["changed"]),
        )
    except FileNotFoundError:
        raise StoreError("missing", f"{path}: not there: {folder} is not a weight store yet") from None
    except OSError as error:
        raise StoreError("io", f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError("damaged", f"{path}: not a store's pointer ({type(error).__name__}: {error})") from None


def write_pointer(folder: Path, pointer: Pointer, reason: str) -> Pointer:
    """Replaces the pointer atomically; returns it as written. Raises OSError.

    Its modification time rises strictly from pointer to pointer, whatever the clock does: followers compare it.
    """
    path = folder / POINTER_FILE
    changed = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    pointer = replace(pointer, reason=reason, changed=changed)
    values = {"format": FORMAT, **pointer.__dict__, "previous": pointer.previous}
    mtime_ns = time.time_ns()
    if path.exists():
        mtime_ns = max(mtime_ns, path.stat().st_mtime_ns + 1)
    write_atomically(path, json.dumps(values, indent=1).encode(), mtime_ns)
    return pointer
