"""Files that survive a kill at any instant: written aside, synced, renamed; and a lock between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sam_adapt_ros.errors import StoreError

_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
    errno.ENOENT: "missing",
}
_POLL_S = 0.01
_serial = itertools.count()


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's errors into a StoreError that names ``path`` and tells a full disk by its reason."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, "io")
        raise StoreError(reason, f"{path}: {error.strerror or error} ({reason})") from error


def write_atomically(path: Path, data: bytes, mtime_ns: int | None = None) -> None:
    """The file's old content or the new one survives a kill or a power cut, never a mixture.

    mtime_ns: the modification time to give it, set before it appears under its name.
    Raises OSError; nothing but a stale temporary file (see ``is_temporary``) can then be left, and only by a kill.
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
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether a file is what a killed ``write_atomically`` leaves behind."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, timeout_s: float, shared: bool = False) -> Iterator[None]:
    """Holds an advisory lock (flock) on a file, which is made where it is missing; a kill frees it.

    shared: with other shared holders; on a file system that cannot be written, readers go on without a lock.
    Raises StoreError, reason ``locked`` when others hold it for longer than ``timeout_s``.
    """
    descriptor = _open_lock(path, shared)
    try:
        if descriptor is not None:
            with store_errors(path):
                _acquire(descriptor, path, timeout_s, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)  # which also frees the lock


def _open_lock(path: Path, shared: bool) -> int | None:
    with store_errors(path):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if shared and error.errno in _REASONS:
                return None
            raise


def _acquire(descriptor: int, path: Path, timeout_s: float, kind: int) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                message = f"{path}: held by another process for more than {timeout_s:g} s (locked)"
                raise StoreError("locked", message) from None
            time.sleep(_POLL_S)
