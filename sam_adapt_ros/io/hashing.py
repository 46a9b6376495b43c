"""Content hashes of files, and of code that figures depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 1 << 20


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content as 64 hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_sources(folders: Iterable[Path], data: str = "") -> str:
    """The SHA-256 of every Python file below the folders, by name and content, and of ``data``."""
    digest = hashlib.sha256(data.encode())
    for folder in folders:
        for source in sorted(folder.rglob("*.py")):
            digest.update(str(source.relative_to(folder)).encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()
