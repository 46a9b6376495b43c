"""Looking into a weight store, without a lock and without changing anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from sam_adapt_ros.adaptation.weight_store.pointer import POINTER_FILE, Pointer, read_pointer
from sam_adapt_ros.adaptation.weight_store.rejected import Quarantine
from sam_adapt_ros.adaptation.weight_store.version import Version, hash_of, parse_name, read_record
from sam_adapt_ros.errors import StoreError, WeightsError
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.io.store_errors import store_errors

LOCK = ".lock"
Problems = list[str]


class StoreReader:
    """A store as others see it; methods raise StoreError, which names the file and the reason.

    What the pointer names is whole before it is named, and is never changed, so that only ``verify`` takes the lock.
    """

    def __init__(self, folder: str | Path, lock_timeout_s: float = 10.0) -> None:
        self.folder = Path(folder)
        self.quarantined = Quarantine(self.folder / "quarantine")
        self._lock_timeout_s = lock_timeout_s

    def pointer(self) -> Pointer:
        """Names of current, previous and source in one consistent look."""
        return read_pointer(self.folder)

    def current(self) -> Version:
        """What is in use."""
        return self._named(lambda pointer: pointer.current)

    def previous(self) -> Version | None:
        """What a rollback goes back to; None when the source is in use."""
        return self._named(lambda pointer: pointer.previous) if self.pointer().previous else None

    def source(self) -> Version:
        """The model as shipped."""
        return self._named(lambda pointer: pointer.source)

    def get(self, name: str) -> Version:
        """A version by its file name, or by an unambiguous beginning of it (``v0007``)."""
        names = [known for known in self._names() if known == name or known.startswith(f"{name}-")]
        if len(names) != 1:
            raise StoreError("missing", f"{self.folder / name}: {'not there' if not names else 'ambiguous'}")
        path = self.folder / names[0]
        return Version(path.name, path, read_record(path))

    def list(self) -> tuple[Version, ...]:
        """Every version whose record can be read, oldest first; ``verify`` names the others."""
        versions = []
        for name in self._names():
            with contextlib.suppress(StoreError):
                versions.append(self.get(name))
        return tuple(versions)

    def verify(self) -> Problems:
        """Reads and checks everything; one line a problem. Leftovers of a kill are none."""
        with locked(self.folder / LOCK, self._lock_timeout_s, shared=True):
            try:
                pointer = self.pointer()
            except StoreError as error:
                return [str(error)]
            names = self._names()
            named = {"current": pointer.current, "previous": pointer.previous, "source": pointer.source}
            problems = [
                f"{self.folder / POINTER_FILE}: {role}: {name} is not there"
                for role, name in named.items()
                if name and name not in names
            ]
            for name in names:
                problems += self._problems(self.folder / name, deep=True)
            return problems

    def _names(self) -> tuple[str, ...]:
        """File names of versions, by number."""
        if not self.folder.is_dir():
            return ()
        with store_errors(self.folder):
            names = [path.name for path in self.folder.iterdir() if parse_name(path.name) is not None]
        return tuple(sorted(names, key=lambda name: (parse_name(name), name)))

    def _named(self, role: Callable[[Pointer], str]) -> Version:
        pointer = self.pointer()
        while True:
            try:
                return self.get(role(pointer))
            except StoreError:
                # Another process may have moved the pointer and pruned meanwhile.
                looked, pointer = pointer, self.pointer()
                if pointer == looked:
                    raise

    def _problems(self, path: Path, deep: bool = False) -> Problems:
        """What is wrong with a version. deep: reads the tensors as well."""
        try:
            record = read_record(path)
            size, digest = path.stat().st_size, hash_file(path)
        except StoreError as error:
            return [str(error)]
        except OSError as error:
            return [f"{path}: cannot be read: {error.strerror}"]
        if size != record.size:
            return [f"{path}: {record.size} bytes expected, got {size}"]
        if digest != record.sha256:
            return [f"{path}: the content is damaged (it does not match the recorded SHA-256)"]
        if deep:
            from sam_adapt_ros.segmentation.weights import load

            try:
                version = load(path).version
            except WeightsError as error:
                return [str(error)]
            if version[:8] != hash_of(path.name):
                return [f"{path}: named for another content than {version[:8]}"]
        return []
