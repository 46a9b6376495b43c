"""Files of bags that are compressed as a whole: unpacked once, however often a command reads the bag."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class _Folder:
    """The unpacked files of the bag that was read last, in the system's temporary folder, until the process ends.

    Another bag's take their place; readers that have them open go on reading, as POSIX files are kept while open.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: TemporaryDirectory | None = None
        self._bag: Path | None = None
        self._files: dict[tuple[str, int, int], Path] = {}
        self._at_exit: Finalize | None = None

    def get(self, path: Path, suffix: str) -> Path:
        with self._lock:
            bag, facts = path.absolute().parent, path.stat()
            key = path.name, facts.st_mtime_ns, facts.st_size
            if bag != self._bag or self._folder is None:
                self._remove()
                self._folder, self._bag = TemporaryDirectory(prefix="sam_adapt_bag_"), bag
                if self._at_exit is None:  # processes that do a part of the work end without Python's own clean-up
                    self._at_exit = Finalize(None, self.remove, exitpriority=0)
            if key not in self._files:
                target = Path(self._folder.name, str(len(self._files))).with_suffix(suffix)
                _unpack(path, target)
                self._files[key] = target
            return self._files[key]

    def remove(self) -> None:
        with self._lock:
            self._remove()

    def _remove(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
        self._folder, self._bag, self._files = None, None, {}


_folder = _Folder()


def unpack(path: Path, suffix: str) -> Path:
    """The unpacked file of one that is compressed by Zstandard; suffix: to give it.

    Raises OSError that names the temporary folder when it is full, and zstd's error for a damaged file.
    """
    return _folder.get(path, suffix)


def remove_unpacked() -> None:
    """Removes what was unpacked; for processes that end without Python's own clean-up."""
    _folder.remove()


def _unpack(path: Path, target: Path) -> None:
    try:
        with path.open("rb") as packed, zstd.open(packed, "rb") as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            reason = os.strerror(error.errno)
            raise OSError(f"{gettempdir()}, where it is unpacked: {reason}; TMPDIR names another folder") from None
        raise
