"""Whether a bag, or a file of a data set, is still the one that it was."""

from __future__ import annotations

import hashlib
from pathlib import Path


def fingerprint(bag: Path) -> str:
    """8 hexadecimal digits of the place, the sizes and the times of a bag's files: another bag of the same name has
    others, and so has a bag that was replaced. A bag that does not exist has one, too."""
    files = sorted(bag.rglob("*")) if bag.is_dir() else [bag]
    status = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(repr(status).encode()).hexdigest()[:8]
