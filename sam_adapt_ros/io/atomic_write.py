"""Atomic replacement of a file: written under a temporary name, synced to the disk, renamed."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

_serial = itertools.count()


def write_atomically(path: Path, data: bytes, mtime_ns: int | None = None) -> None:
    """Replaces a file so that a kill or a power cut leaves its old content or the new one, never a mixture.

    Args:
        path: the file; its folder must exist.
        mtime_ns: the modification time to give the file, set before it appears under its name; None for now.
    Raises:
        OSError: names the file, which has its old content. Only a kill leaves a temporary file behind (see
            ``remove_temporary``).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            remaining = memoryview(data)
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # not the temporary one's; a full disk's error has none
        raise
    sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that a killed ``write_atomically`` left behind."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove_temporary(paths: Iterable[Path]) -> None:
    """Removes those of the paths that a killed ``write_atomically`` left behind. Nobody may be writing there now.

    Raises OSError.
    """
    for path in filter(is_temporary, paths):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in a folder survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
