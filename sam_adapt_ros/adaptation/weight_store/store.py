"""The weight store: immutable weights by version, and an atomically replaced pointer to the one in use.

::

    current                        the pointer: current, previous, source
    v0000-1f0c9a3e.safetensors     a version: weights, named by number and content
    v0000-1f0c9a3e.json            its record
    quarantine/                    what was refused or found damaged, each with its reason beside
    .lock .partial/                the lock between processes; what is being written
    .reserve                       bytes that a rollback can have on a full disk

A version exists once its weights file has its name; its record is there before that, and the pointer names it after.
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

from sam_adapt_ros.adaptation.weight_store.pointer import POINTER_FILE, Pointer, write_pointer
from sam_adapt_ros.adaptation.weight_store.staging import Signature, describe, stage
from sam_adapt_ros.adaptation.weight_store.store_reader import LOCK, StoreReader
from sam_adapt_ros.adaptation.weight_store.version import (
    RECORD_SUFFIX,
    Record,
    Version,
    encode_record,
    hash_of,
    name_of,
    parse_name,
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

_RESERVE, _PARTIAL = ".reserve", ".partial"
_RESERVED_BYTES = 64 * 1024


class WeightStore(StoreReader):
    """A folder of weights. Any number of processes may use it at once; a kill at any instant leaves it whole.

    lock_timeout_s: how long a change waits for another process's.
    Every method raises StoreError, which names the file and the reason, a full or read-only disk included. Changes made
    before the error hold or are undone; the pointer never names what is not there.
    """

    def __init__(self, folder: str | Path, lock_timeout_s: float = 10.0) -> None:
        super().__init__(folder, lock_timeout_s)
        self._signature: Signature | None = None

    def initialize(self, source: str | Path | Weights) -> Version:
        """Takes the source model into an empty store; a store that has that very model already is left as it is.

        Raises StoreError, ``refused``, when the store belongs to another source model or this one is no good.
        """
        with self._changing():
            try:
                staged, weights = stage(source, self._partial)
            except WeightsError as error:
                raise StoreError("refused", f"{error}; not taken as a source") from error
            if (self.folder / POINTER_FILE).exists():
                known = self.source()
                if hash_of(known.name) != weights.version[:8]:
                    theirs = f"{self.folder}: its source model is {known.name}"
                    raise StoreError("refused", f"{theirs}, not {weights.version}; choose another folder")
                return known
            version = self._take(staged, weights.version, Record())
            self._point(Pointer(version.name, version.name), "source model")
            return version

    def add(self, weights: Candidate, record: Record) -> Version:
        """Takes a candidate in, without using it. The very file that is there already is given back as it is.

        weights: ``Weights``; a state dict, which is of the source's taxonomy and architecture; or a weights file, which
            is copied.
        Raises StoreError, ``refused``, for a candidate that is damaged, not finite or not of the source's taxonomy,
        architecture and shapes; it is kept aside under ``quarantine/``, with the reason.
        """
        with self._changing():
            source = self.source().path
            try:
                staged, content = stage(weights, self._partial, like=source, parent=record.parent)
                self._common().check(describe(weights), content)
            except WeightsError as error:
                kept = self.quarantined.keep_candidate(weights, str(error))
                raise StoreError("refused", f"{error}; refused, {kept}") from error
            return self._take(staged, content.version, record)

    def promote(self, version: Version | str, reason: str = "promoted", over: Version | str | None = None) -> Version:
        """Puts a version in use. Promoting the source starts anew: nothing comes before it.

        over: what the version was compared with. Raises StoreError, ``moved_on``, when that is no longer in use.
        A version that is found damaged is set aside (``damaged``).
        """
        with self._changing():
            pointer = self.pointer()
            version = self.get(_name(version))
            if over is not None and pointer.current != _name(over):
                moved = f"{pointer.current} is in use, not {_name(over)} that it was compared with"
                raise StoreError("moved_on", f"{version.path}: not promoted: {moved}")
            if version.name == pointer.current:
                return version
            problems = "; ".join(self._problems(version.path))
            if problems:
                if version.name != pointer.source:
                    self._set_aside(version.name, problems)
                raise StoreError("damaged", f"{problems}; not promoted")
            self._point(pointer.promoted(version.name), reason)
            return version

    def rollback(self, reason: str = "rolled back", of: Version | str | None = None) -> Version:
        """Puts the previous version in use, or the nearest before it that is whole; the end is the source.

        of: rolls back only while this version is in use, so that two who see the same fault go back one step, not two.
        Raises StoreError, ``refused``, when the source is in use already. Works on a full disk.
        """
        with self._changing():
            pointer = self.pointer()
            if of is not None and pointer.current != _name(of):
                return self.get(pointer.current)
            return self._roll_back(pointer, reason)

    def prune(self, keep: int) -> tuple[str, ...]:
        """Removes all but the ``keep`` newest versions, source, current and previous; as many stay in quarantine.

        Returns the names of the versions removed.
        """
        if keep < 0:
            raise ValueError(f"keep: 0 or more expected, got {keep}")
        with self._changing():
            pointer = self.pointer()
            names = self._names()
            kept = {pointer.source, pointer.current, pointer.previous, *names[len(names) - min(keep, len(names)) :]}
            removed = tuple(name for name in names if name not in kept)
            if removed:
                # First, so that the history never names what is not there.
                self._point(pointer.without(removed), pointer.reason)
                for name in removed:
                    (self.folder / name).unlink()
                    (self.folder / name).with_suffix(RECORD_SUFFIX).unlink(missing_ok=True)
                sync_folder(self.folder)
            self.quarantined.prune(keep)
            return removed

    def quarantine(self, file: Version | str | Path, reason: str) -> Path:
        """Sets weights aside, with the reason beside; returns where they are.

        A version of this store is moved; when it is the one in use, the store first rolls back. Any other file is
        copied. Raises StoreError, ``refused``, for the source, which is never touched.
        """
        with self._changing():
            path = file.path if isinstance(file, Version) else Path(file)
            if path.name in self._names() and path.parent in (self.folder, Path()):
                return self._set_aside(path.name, reason)
            return self.quarantined.copy(path, reason)

    # Inside: all of it runs under the lock ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Holds the lock; clears what a kill left behind."""
        with store_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK, self._lock_timeout_s):
                self._sweep()
                self._reserve()
                try:
                    yield
                finally:
                    shutil.rmtree(self._partial, ignore_errors=True)

    @property
    def _partial(self) -> Path:
        return self.folder / _PARTIAL

    def _common(self) -> Signature:
        from sam_adapt_ros.segmentation.weights import load

        if self._signature is None:
            self._signature = Signature.of(load(self.source().path))
        return self._signature

    def _take(self, staged: Path, weights_version: str, record: Record) -> Version:
        """Gives a staged file its name, with its record written before, so that no version is without one."""
        digest = hash_file(staged)
        for version in self.list():
            if version.record.sha256 == digest and not self._problems(version.path):
                return version
        created = record.created or datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = replace(record, created=created, sha256=digest, size=staged.stat().st_size)
        path = self.folder / name_of(self._highest_number() + 1, weights_version)
        write_atomically(path.with_suffix(RECORD_SUFFIX), encode_record(record))
        staged.chmod(0o444)
        staged.replace(path)
        sync_folder(self.folder)
        return self.get(path.name)

    def _highest_number(self) -> int:
        """-1 in an empty store. Numbers of versions that were pruned are not given again."""
        known = [parse_name(name) or 0 for name in self._names()]
        if (self.folder / POINTER_FILE).exists():
            known.append(self.pointer().number)
        return max(known, default=-1)

    def _point(self, pointer: Pointer, reason: str) -> None:
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
            raise StoreError("refused", f"{self.folder}: {pointer.current} is the source: nothing to go back to")
        while pointer.previous:
            pointer = pointer.rolled_back()
            problems = self._problems(self.folder / pointer.current)
            if not problems:
                self._point(pointer, reason)
                return self.get(pointer.current)
            logger.warning("passed over in rolling back: %s", "; ".join(problems))
        raise StoreError("damaged", "; ".join(problems))

    def _set_aside(self, name: str, reason: str) -> Path:
        pointer = self.pointer()
        if name == pointer.source:
            raise StoreError("refused", f"{self.folder / name}: the source model is never set aside ({reason})")
        if name == pointer.current:
            self._roll_back(pointer, f"{name} set aside: {reason}")
        else:
            # Even where the history does not name it: the pointer keeps its number from being given again.
            self._point(pointer.without([name]), pointer.reason)
        return self.quarantined.move(self.folder / name, reason)

    def _sweep(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
        names = set(self._names())
        for path in self.folder.iterdir():
            weights = path.with_suffix(".safetensors").name
            is_orphan = path.suffix == RECORD_SUFFIX and parse_name(weights) is not None and weights not in names
            if is_temporary(path) or is_orphan:
                path.unlink(missing_ok=True)

    def _reserve(self) -> None:
        path = self.folder / _RESERVE
        if not path.exists():
            with contextlib.suppress(OSError):
                write_atomically(path, b"\0" * _RESERVED_BYTES)


def _name(version: Version | str) -> str:
    return version if isinstance(version, str) else version.name
