"""The weight store: immutable weights by version, and an atomically replaced pointer to the one in use.

::

    current                        the pointer: current, previous, source
    v0000-1f0c9a3e.safetensors     a version: weights, named by number and content
    v0000-1f0c9a3e.json            its record
    quarantine/                    weights that were refused or found damaged, and a file with the reason for each
    .lock .partial/                the lock between processes; weights that are being written
    .reserve                       space that lets a rollback work on a full disk

A version exists once its weights file has its name; its record exists before that, and the pointer names it after.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sam_adapt_ros.adaptation.weight_store.pointer import Pointer, write_pointer
from sam_adapt_ros.adaptation.weight_store.staging import check_fits, stage
from sam_adapt_ros.adaptation.weight_store.store_reader import LOCK, StoreReader
from sam_adapt_ros.adaptation.weight_store.version import (
    RECORD_SUFFIX,
    WEIGHTS_SUFFIX,
    Record,
    Version,
    find_damage,
    version_hash,
    version_name,
    version_number,
)
from sam_adapt_ros.errors import StoreError, WeightsError
from sam_adapt_ros.io.atomic_write import is_temporary, sync_folder, write_atomically
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.io.store_errors import store_errors

if TYPE_CHECKING:
    from sam_adapt_ros.adaptation.weight_store.staging import Candidate
    from sam_adapt_ros.segmentation.weights import Weights

logger = logging.getLogger(__name__)

_RESERVE = ".reserve"
_RESERVED_BYTES = 64 * 1024


class WeightStore(StoreReader):
    """A folder of weights. Any number of processes may use it at once; a kill at any instant leaves it consistent.

    lock_timeout_s: how long a change waits for another process's.
    Every method raises StoreError, which names the file and the reason, a full or read-only disk included. Changes made
    before the error hold or are undone; the pointer never names a missing file.
    """

    def __init__(self, folder: str | Path, lock_timeout_s: float = 10.0) -> None:
        super().__init__(folder, lock_timeout_s)
        self._staging = self.folder / ".partial"

    def initialize(self, source: Candidate) -> Version:
        """Takes the source model into an empty store; a store that has this very source already stays as it is.

        Raises StoreError, ``refused``, when the store belongs to another source model or this one is unusable.
        """
        with self._exclusive():
            try:
                staged, weights = stage(source, self._staging)
            except WeightsError as error:
                raise StoreError("refused", f"{error}; a weight store cannot begin with this source model") from error
            if self.exists:
                known = self.source()
                if version_hash(known.name) != weights.version[:8]:
                    raise StoreError(
                        "refused",
                        f"{self.folder}: the store's source model is {known.name}, but segmenter.weights is "
                        f"{weights.version}; choose another folder (adaptation.store.folder) for this model",
                    )
                return known
            version = self._publish(staged, weights.version, Record())
            self._write_pointer(Pointer(version.name, version.name), "source model")
            return version

    def add(self, candidate: Candidate, record: Record) -> Version:
        """Takes weights or a copy of a weights file into the store, without using them.

        A file whose very content the store has already gives the version that it has.
        Raises StoreError, ``refused``, for a candidate that is damaged, not finite, or differs from the source model in
        taxonomy, architecture or shapes; it is kept under ``quarantine/`` with the reason.
        """
        with self._exclusive():
            source = self._source_weights()
            try:
                staged, weights = stage(candidate, self._staging)
                check_fits(candidate, weights, source)
            except WeightsError as error:
                kept = self.rejected.keep(candidate, str(error))
                raise StoreError("refused", f"{error}; refused, {kept}") from error
            return self._publish(staged, weights.version, record)

    def promote(self, version: Version | str, reason: str = "promoted", over: Version | str | None = None) -> Version:
        """Puts a version in use. Promoting the source begins a new history: nothing comes before it.

        over: the version it was compared with. Raises StoreError, ``moved_on``, when that is no longer in use.
        A version that is found damaged is moved to the rejected weights (``damaged``).
        """
        with self._exclusive():
            pointer = self.pointer()
            version = self.get(_name(version))
            if over is not None and pointer.current != _name(over):
                raise StoreError(
                    "moved_on",
                    f"{version.path}: not promoted: it was compared with {_name(over)}, "
                    f"but {pointer.current} is in use by now",
                )
            if version.name == pointer.current:
                return version
            damage = find_damage(version.path)
            if damage:
                if version.name != pointer.source:
                    self._reject(version.name, damage)
                raise StoreError("damaged", f"{damage}; not promoted")
            self._write_pointer(pointer.promoted(version.name), reason)
            return version

    def rollback(self, reason: str = "rolled back", of: Version | str | None = None) -> Version:
        """Puts the previous version in use, or the nearest before it that is undamaged; the last is the source.

        of: rolls back only while this version is in use, so that two processes that see the same fault go back one
        step, not two.
        Raises StoreError, ``refused``, when the source is in use already. Works on a full disk.
        """
        with self._exclusive():
            pointer = self.pointer()
            if of is not None and pointer.current != _name(of):
                return self.get(pointer.current)
            return self._roll_back(pointer, reason)

    def prune(self, keep: int) -> tuple[str, ...]:
        """Removes all but the ``keep`` newest versions, source, current and previous; as many rejected ones stay.

        Returns the names of the versions removed.
        """
        if keep < 0:
            raise ValueError(f"keep: 0 or more expected, got {keep}")
        with self._exclusive():
            pointer = self.pointer()
            names = self._names()
            kept = {pointer.source, pointer.current, pointer.previous, *names[len(names) - min(keep, len(names)) :]}
            removed = tuple(name for name in names if name not in kept)
            if removed:
                # First, so that the history never names a missing file.
                self._write_pointer(pointer.without(removed), pointer.reason)
                for name in removed:
                    (self.folder / name).unlink()
                    (self.folder / name).with_suffix(RECORD_SUFFIX).unlink(missing_ok=True)
                sync_folder(self.folder)
            self.rejected.prune(keep)
            return removed

    def reject(self, version: Version | str, reason: str) -> Path:
        """Moves a version to the rejected weights, with a file that holds the reason; returns its new path.

        When it is the one in use, the store first rolls back. Raises StoreError, ``refused``, for the source, which is
        never touched.
        """
        with self._exclusive():
            name = _name(version)
            if name not in self._names():
                raise StoreError("missing", f"{self.folder / name}: no such version")
            return self._reject(name, reason)

    # Everything below runs under the lock -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Holds the lock, and removes what a killed process left behind."""
        with store_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK, self._lock_timeout_s):
                self._remove_leftovers()
                self._reserve_space()
                try:
                    yield
                finally:
                    shutil.rmtree(self._staging, ignore_errors=True)

    def _source_weights(self) -> Weights:
        from sam_adapt_ros.segmentation.weights import load

        try:
            return load(self.source().path)
        except WeightsError as error:
            raise StoreError("damaged", f"{error}; without its source model the store takes no weights") from error

    def _publish(self, staged: Path, weights_hash: str, record: Record) -> Version:
        """Gives a staged file its name, with its record written before, so that no version is without one."""
        sha256 = hash_file(staged)
        for version in self.versions():
            if version.record.sha256 == sha256 and not find_damage(version.path):
                return version
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = replace(record, created=created, sha256=sha256, size=staged.stat().st_size)
        path = self.folder / version_name(self._highest_number() + 1, weights_hash)
        write_atomically(path.with_suffix(RECORD_SUFFIX), record.encode())
        staged.chmod(0o444)
        staged.replace(path)
        sync_folder(self.folder)
        return self.get(path.name)

    def _highest_number(self) -> int:
        """-1 in an empty store. Numbers of versions that were pruned are not given again."""
        known = [version_number(name) or 0 for name in self._names()]
        if self.exists:
            known.append(self.pointer().number)
        return max(known, default=-1)

    def _write_pointer(self, pointer: Pointer, reason: str) -> None:
        pointer = replace(pointer, number=self._highest_number())
        try:
            write_pointer(self.folder, pointer, reason)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A full disk must not keep bad weights in use: this is what the reserve is for.
            (self.folder / _RESERVE).unlink(missing_ok=True)
            write_pointer(self.folder, pointer, reason)

    def _roll_back(self, pointer: Pointer, reason: str) -> Version:
        if not pointer.previous:
            raise StoreError(
                "refused", f"{self.folder}: {pointer.current} is the source model: there is nothing to roll back to"
            )
        while pointer.previous:
            pointer = pointer.rolled_back()
            damage = find_damage(self.folder / pointer.current)
            if not damage:
                self._write_pointer(pointer, reason)
                return self.get(pointer.current)
            logger.warning("a rollback skips a damaged version and takes the one before it: %s", damage)
        raise StoreError("damaged", damage)

    def _reject(self, name: str, reason: str) -> Path:
        pointer = self.pointer()
        if name == pointer.source:
            raise StoreError("refused", f"{self.folder / name}: the source model is never moved away ({reason})")
        if name == pointer.current:
            self._roll_back(pointer, f"{name} rejected: {reason}")
        else:
            # Even where the history does not name it: the pointer keeps its number from being given again.
            self._write_pointer(pointer.without([name]), pointer.reason)
        return self.rejected.move(self.folder / name, reason)

    def _remove_leftovers(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        names = set(self._names())
        for path in self.folder.iterdir():
            weights = path.with_suffix(WEIGHTS_SUFFIX).name
            is_orphan = path.suffix == RECORD_SUFFIX and version_number(weights) is not None and weights not in names
            if is_temporary(path) or is_orphan:
                path.unlink(missing_ok=True)

    def _reserve_space(self) -> None:
        path = self.folder / _RESERVE
        if not path.exists():
            with contextlib.suppress(OSError):
                write_atomically(path, bytes(_RESERVED_BYTES))


def _name(version: Version | str) -> str:
    return version if isinstance(version, str) else version.name
