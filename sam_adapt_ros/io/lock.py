"""Advisory locks between processes; a kill releases them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.store_errors import REASONS, store_errors

_POLL_S = 0.01


@contextlib.contextmanager
def locked(path: Path, timeout_s: float, shared: bool = False) -> Iterator[None]:
    """Holds ``flock`` on a file, which is created where it is missing.

    Args:
        timeout_s: how long to wait for other holders.
        shared: hold it together with other shared holders; where the file cannot be created (a read-only file
            system), go on without a lock.
    Raises:
        StoreError: ``locked`` when others hold it for longer than ``timeout_s``; or the file cannot be opened.
    """
    descriptor = _open(path, shared)
    try:
        if descriptor is not None:
            with store_errors(path):
                _acquire(descriptor, path, timeout_s, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)  # also releases the lock


@contextlib.contextmanager
def alone(path: Path, otherwise: Exception) -> Iterator[None]:
    """Holds the lock of a folder in which one process at a time works; raises ``otherwise`` where another one does.

    Raises StoreError where the file cannot be opened.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(path, timeout_s=0))
        except StoreError as error:
            if error.reason == "locked":
                raise otherwise from None
            raise
        yield


def _open(path: Path, shared: bool) -> int | None:
    with store_errors(path):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if shared and error.errno in REASONS:
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
                raise StoreError(
                    "locked", f"{path}: another process has held the lock for more than {timeout_s:g} s (locked)"
                ) from None
            time.sleep(_POLL_S)
