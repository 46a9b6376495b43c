"""Folders that take their name when they are whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam_adapt_ros.io.atomic_write import sync_folder


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a folder beside ``path`` to be filled; it then takes that name, in place of what has it. A kill or a power
    cut leaves what was there, or the new folder (between two renames, both of them in a hidden folder beside it); an
    exception what was there.

    Raises OSError.
    """
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        content = partial / path.name
        content.mkdir()
        yield content
        for folder, _, files in os.walk(content):
            for name in files:
                _sync_file(Path(folder) / name)
            sync_folder(Path(folder))
        take_place(content, path, partial / "replaced")
        sync_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def take_place(content: Path, path: Path, aside: Path) -> None:
    """Renames ``content`` to ``path``, and what has that name to ``aside``; an exception leaves it where it was.

    Raises OSError.
    """
    try:
        if path.exists():
            path.rename(aside)
        content.rename(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
