"""Reading a weight store, without changing anything."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

from sam_adapt_ros.adaptation.weight_store.pointer import POINTER_FILE, Pointer, read_pointer
from sam_adapt_ros.adaptation.weight_store.rejected import RejectedWeights
from sam_adapt_ros.adaptation.weight_store.version import Version, find_damage, read_record, version_number
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.io.store_errors import store_errors

LOCK = ".lock"


class StoreReader:
    """A weight store as other processes see it. Methods raise StoreError, which names the file and the reason.

    What the pointer names is complete before it is named and is never changed, so that only ``verify`` takes the lock.
    """

    def __init__(self, folder: str | Path, lock_timeout_s: float = 10.0) -> None:
        self.folder = Path(folder)
        self.rejected = RejectedWeights(self.folder / "quarantine")
        self._lock_timeout_s = lock_timeout_s

    @property
    def exists(self) -> bool:
        """Whether the folder holds a store. True where that cannot be determined: reading it then raises the error."""
        try:
            (self.folder / POINTER_FILE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            pass
        return True

    def pointer(self) -> Pointer:
        """The names of current, previous and source, read at once."""
        return read_pointer(self.folder)

    def current(self) -> Version:
        """The weights in use."""
        return self._version_of("current")

    def source(self) -> Version:
        """The model as shipped."""
        return self._version_of("source")

    def get(self, name: str) -> Version:
        """A version by its file name, or by its number (``v0007``)."""
        names = [known for known in self._names() if known == name or known.startswith(f"{name}-")]
        if len(names) != 1:
            fault = "several versions have this number; give the whole name" if names else "no such version"
            raise StoreError("missing", f"{self.folder / name}: {fault}")
        path = self.folder / names[0]
        return Version(path.name, path, read_record(path))

    def versions(self) -> tuple[Version, ...]:
        """Every version whose record can be read, oldest first; ``verify`` names the others."""
        versions = []
        for name in self._names():
            with contextlib.suppress(StoreError):
                versions.append(self.get(name))
        return tuple(versions)

    def verify(self) -> list[str]:
        """Reads and checks every file; one line for each problem. What a kill leaves behind is none."""
        with locked(self.folder / LOCK, self._lock_timeout_s, shared=True):
            try:
                pointer = self.pointer()
            except StoreError as error:
                return [str(error)]
            names = self._names()
            problems = [
                f"{self.folder / POINTER_FILE}: {role}: {name}: no such version"
                for role in ("current", "previous", "source")
                if (name := getattr(pointer, role)) and name not in names
            ]
            return problems + [damage for name in names if (damage := find_damage(self.folder / name, deep=True))]

    def _names(self) -> tuple[str, ...]:
        """File names of versions, by number."""
        if not self.folder.is_dir():
            return ()
        with store_errors(self.folder):
            names = [path.name for path in self.folder.iterdir() if version_number(path.name) is not None]
        return tuple(sorted(names, key=lambda name: (version_number(name), name)))

    def _version_of(self, role: Literal["current", "source"]) -> Version:
        pointer = self.pointer()
        while True:
            try:
                return self.get(getattr(pointer, role))
            except StoreError:
                # Another process may have moved the pointer and pruned meanwhile.
                looked, pointer = pointer, self.pointer()
                if pointer == looked:
                    raise
