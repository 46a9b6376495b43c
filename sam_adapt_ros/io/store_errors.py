"""Translation of the operating system's errors into StoreError."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from sam_adapt_ros.errors import StoreError, StoreErrorReason

REASONS: dict[int | None, StoreErrorReason] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
    errno.ENOENT: "missing",
}
"""The reason of a StoreError by ``errno``; every other error is ``io``."""


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turns an OSError raised inside into a StoreError that names ``path`` and the reason, e.g. ``disk_full``."""
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno, "io")
        raise StoreError(reason, f"{path}: {error.strerror or error} ({reason})") from error
