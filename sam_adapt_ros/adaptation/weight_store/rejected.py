"""Weights that were refused or found damaged: kept for inspection, each with a file that holds the reason."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sam_adapt_ros.adaptation.weight_store.version import RECORD_SUFFIX
from sam_adapt_ros.io.atomic_write import is_temporary, sync_folder, write_atomically

if TYPE_CHECKING:
    from sam_adapt_ros.adaptation.weight_store.staging import Candidate
    from sam_adapt_ros.segmentation.weights import Weights

logger = logging.getLogger(__name__)

_REASON_SUFFIX = ".reason.json"


@dataclass(frozen=True)
class RejectedFile:
    """path: the weights. reason: why. time: when, ISO 8601, UTC; both "" when a kill came before they were written."""

    path: Path
    reason: str
    time: str


class RejectedWeights:
    """The store's folder of weights that must not be used. Changes are made under the store's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[RejectedFile]:
        """Oldest first."""
        for path in self._files():
            try:
                data = json.loads(_reason_file(path).read_bytes())
                yield RejectedFile(path, str(data["reason"]), str(data["time"]))
            except (OSError, ValueError, KeyError, TypeError):
                yield RejectedFile(path, "", "")

    def move(self, path: Path, reason: str) -> Path:
        """Moves a version here, with its record; returns where it is now. Raises OSError."""
        target = self._write_reason(path.name, reason)
        path.replace(target)
        record = path.with_suffix(RECORD_SUFFIX)
        if record.exists():
            record.replace(target.with_suffix(RECORD_SUFFIX))
        sync_folder(self.folder)
        sync_folder(path.parent)
        return target

    def keep(self, candidate: Candidate, reason: str) -> str:
        """Copies a refused candidate here; returns what became of it, for an error message. Never raises."""
        try:
            if isinstance(candidate, str | Path):
                target = self._write_reason(Path(candidate).name, reason)
                shutil.copyfile(candidate, target)
            else:
                target = self._write_reason("candidate.safetensors", reason)
                _dump(candidate, target)
            return f"kept as {target}"
        except (OSError, ValueError) as error:
            logger.warning("%s: refused weights could not be kept for inspection: %s", self.folder, error)
            return f"not kept ({error})"

    def prune(self, keep: int) -> None:
        """Removes all but the ``keep`` newest. Raises OSError."""
        files = self._files()
        files = files[len(files) - min(keep, len(files)) :]
        kept = {*files, *map(_reason_file, files), *(path.with_suffix(RECORD_SUFFIX) for path in files)}
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path not in kept and path.is_file():
                path.unlink()

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        weights = (path for path in self.folder.iterdir() if path.suffix != RECORD_SUFFIX and not is_temporary(path))
        files = [path for path in weights if path.is_file()]
        # By when they came here: a version that was moved keeps its older modification time.
        return sorted(files, key=lambda path: (path.stat().st_ctime_ns, path.name))

    def _write_reason(self, name: str, reason: str) -> Path:
        """Writes the reason; returns the free path that the weights themselves are to take."""
        self.folder.mkdir(exist_ok=True)
        target, count = self.folder / name, 1
        while target.exists() or _reason_file(target).exists():
            count += 1
            target = self.folder / f"{Path(name).stem}-{count}{Path(name).suffix}"
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_atomically(_reason_file(target), json.dumps({"reason": reason, "time": now}, indent=1).encode())
        return target


def _reason_file(path: Path) -> Path:
    return path.with_name(path.name + _REASON_SUFFIX)


def _dump(weights: Weights, path: Path) -> None:
    """Writes tensors as they are, faults included. Raises OSError, or ValueError for tensors that cannot be stored."""
    import safetensors.torch

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.state.items()}
    try:
        data = safetensors.torch.save(tensors)
    except Exception as error:  # safetensors' own error type does not derive from a built-in one
        raise ValueError(f"{path}: {error}") from None
    path.write_bytes(data)
