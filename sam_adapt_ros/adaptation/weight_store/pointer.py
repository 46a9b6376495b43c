"""The pointer file ``current``: which weights are in use, and which a rollback returns to."""

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
_FORMAT = 1
_HISTORY = 50  # promoted versions that are remembered; beyond that a rollback ends at the source


@dataclass(frozen=True)
class Pointer:
    """One consistent state of a store; versions by file name.

    source: the model as shipped, the end of every rollback. current: the weights in use.
    history: what was in use before, oldest first, without the source. Only the last is certain to exist (``previous``).
    number: the highest version number that had been given when the pointer was written.
    reason: why it was last changed. changed: when, ISO 8601, UTC.
    """

    source: str
    current: str
    history: tuple[str, ...] = ()
    number: int = 0
    reason: str = ""
    changed: str = ""

    @property
    def earlier(self) -> tuple[str, ...]:
        """What one rollback after the other returns to, the nearest first; empty when the source is in use."""
        return () if self.current == self.source else (*reversed(self.history), self.source)

    @property
    def previous(self) -> str:
        """What a rollback returns to; "" when the source is in use."""
        return self.earlier[0] if self.earlier else ""

    def promoted(self, name: str) -> Pointer:
        """With ``name`` in use. Promoting the source begins a new history."""
        if name == self.source:
            return replace(self, current=name, history=())
        before = [*self.history, self.current]
        history = tuple(version for version in before if version not in (name, self.source))
        return replace(self, current=name, history=history[-_HISTORY:])

    def rolled_back(self) -> Pointer:
        """With the previous version in use, and the one before that as previous."""
        return replace(self, current=self.previous, history=self.history[:-1])

    def without(self, names: Collection[str]) -> Pointer:
        """With a history that does not name the given versions."""
        return replace(self, history=tuple(version for version in self.history if version not in names))


def read_pointer(folder: Path) -> Pointer:
    """Raises StoreError: ``missing`` where there is no store, ``damaged`` where the pointer cannot be understood."""
    path = folder / POINTER_FILE
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != _FORMAT:
            raise StoreError("damaged", f"{path}: format: {_FORMAT} expected, got {data['format']!r}")
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
        raise StoreError(
            "missing", f"{path}: no such file: there is no weight store in this folder (yet); an adapter creates it"
        ) from None
    except OSError as error:
        raise StoreError("io", f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError("damaged", f"{path}: not a store's pointer ({type(error).__name__}: {error})") from None


def write_pointer(folder: Path, pointer: Pointer, reason: str) -> None:
    """Replaces the pointer atomically. Raises OSError.

    Its modification time increases strictly from pointer to pointer, whatever the clock does: watchers compare it.
    """
    path = folder / POINTER_FILE
    changed = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    pointer = replace(pointer, reason=reason, changed=changed)
    values = {"format": _FORMAT, **pointer.__dict__, "previous": pointer.previous}
    mtime_ns = time.time_ns()
    if path.exists():
        mtime_ns = max(mtime_ns, path.stat().st_mtime_ns + 1)
    write_atomically(path, json.dumps(values, indent=1).encode(), mtime_ns)
