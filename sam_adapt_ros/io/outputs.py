"""What a run leaves for people. Its place is tried before the work begins, so that no hours are lost to a wrong path;
files are replaced whole, so that a full disk costs no earlier result."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sam_adapt_ros.errors import OutputError
from sam_adapt_ros.io.atomic_write import write_atomically

_PROBE_BYTES = 1 << 16


def prepare_folder(folder: Path, files: Sequence[str] = (), folders: Sequence[str] = (), *, force: bool) -> None:
    """Creates a folder, and tries whether a run can leave its results in it.

    Args:
        files, folders: names of what it will leave there. force: replace files that are there.
    Raises:
        OutputError: names what is in the way, or why nothing can be written.
    """
    for place in (folder, *(folder / name for name in folders)):
        if place.exists() and not place.is_dir():
            raise OutputError(f"{place}: a folder expected, a file is there; choose another output")
    for name in files:
        _check_file(folder / name, force)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *(folder / name for name in folders)):
            if place.is_dir():
                with tempfile.TemporaryFile(dir=place, buffering=0) as file:
                    file.write(bytes(_PROBE_BYTES))


def prepare_file(path: Path, *, force: bool) -> None:
    """As ``prepare_folder``, for a single file."""
    _check_file(path, force)
    if path.is_file() or not path.exists():
        prepare_folder(path.resolve().parent, force=force)


def write_text(path: Path, text: str) -> None:
    """Replaces a file as a whole; a device such as ``/dev/stdout`` is written to. Raises OutputError."""
    data = text.encode("utf-8", "backslashreplace")  # names of files need not be text
    with output_errors(path):
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            write_atomically(path.resolve(), data)


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turns an OSError raised inside into an OutputError that names ``path`` and the reason."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _check_file(path: Path, force: bool) -> None:
    if path.is_dir():
        raise OutputError(f"{path}: a file expected, a folder is there; choose another output")
    if path.is_file() and not force:
        raise OutputError(f"{path} exists; choose another output or give --force")
