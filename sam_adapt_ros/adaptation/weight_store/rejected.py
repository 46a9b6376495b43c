"""Weights that were refused or found damaged: kept aside to be looked at, each with the reason beside."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sam_adapt_ros.adaptation.weight_store.staging import dump
from sam_adapt_ros.adaptation.weight_store.version import RECORD_SUFFIX
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.atomic_write import is_temporary, sync_folder, write_atomically
from sam_adapt_ros.io.store_errors import store_errors

if TYPE_CHECKING:
    from sam_adapt_ros.adaptation.weight_store.staging import Candidate

logger = logging.getLogger(__name__)

_REASON_SUFFIX = ".reason.json"


@dataclass(frozen=True)
class SetAside:
    """path: the file. reason: why. time: when, ISO 8601, UTC; both "" when a kill came between."""

    path: Path
    reason: str
    time: str


class Quarantine:
    """The store's folder for what must not be used. Changes are made under the store's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[SetAside]:
        """Oldest first."""
        for path in self._files():
            try:
                note = json.loads(_note(path).read_bytes())
                yield SetAside(path, str(note["reason"]), str(note["time"]))
            except (OSError, ValueError, KeyError, TypeError):
                yield SetAside(path, "", "")

    def move(self, path: Path, reason: str) -> Path:
        """A version, with its record. Raises OSError."""
        target = self._write_note(path.name, reason)
        path.replace(target)
        record = path.with_suffix(RECORD_SUFFIX)
        if record.exists():
            record.replace(target.with_suffix(RECORD_SUFFIX))
        sync_folder(self.folder)
        sync_folder(path.parent)
        return target

    def copy(self, path: Path, reason: str) -> Path:
        """Any other file. Raises StoreError that names it, OSError."""
        with store_errors(path):
            path.open("rb").close()
        target = self._write_note(path.name, reason)
        shutil.copyfile(path, target)
        return target

    def keep_candidate(self, weights: Candidate, reason: str) -> str:
        """A refused candidate; returns what became of it, for the message. Never raises."""
        try:
            if isinstance(weights, str | Path):
                return f"kept as {self.copy(Path(weights), reason)}"
            target = self._write_note("candidate.safetensors", reason)
            dump(weights, target)
            return f"kept as {target}"
        except (OSError, StoreError, ValueError) as error:
            logger.warning("a refused candidate could not be kept: %s", error)
            return f"not kept ({error})"

    def prune(self, keep: int) -> None:
        """Removes all but the ``keep`` newest. Raises OSError."""
        files = self._files()
        for path in files[: max(0, len(files) - keep)]:
            path.unlink()
        files = self._files()
        kept = {*files, *map(_note, files), *(path.with_suffix(RECORD_SUFFIX) for path in files)}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path not in kept and path.is_file():
                    path.unlink()

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        weights = (path for path in self.folder.iterdir() if path.suffix != RECORD_SUFFIX and not is_temporary(path))
        files = [path for path in weights if path.is_file()]
        # By when they were set aside: a moved version keeps its own, older modification time.
        return sorted(files, key=lambda path: (path.stat().st_ctime_ns, path.name))

    def _write_note(self, name: str, reason: str) -> Path:
        """Writes the reason; returns the free name that the file itself is to take."""
        self.folder.mkdir(exist_ok=True)
        target, count = self.folder / name, 1
        while target.exists() or _note(target).exists():
            count += 1
            target = self.folder / f"{Path(name).stem}-{count}{Path(name).suffix}"
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_atomically(_note(target), json.dumps({"reason": reason, "time": now}, indent=1).encode())
        return target


def _note(path: Path) -> Path:
    return path.with_name(path.name + _REASON_SUFFIX)
