"""What commands print.

Text is text: brackets and colons in paths and messages are never markup. Nothing is cut: through a pipe a table is as
wide as it needs to be, and an 8-bit terminal gets escapes for the characters that it cannot show.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Column, Table

PIPE_WIDTH = 100_000
"""Columns where there is no terminal: no line of a table is broken or cut, whatever ``COLUMNS`` says."""

console = Console(markup=False, emoji=False, highlight=False)
errors = Console(markup=False, emoji=False, highlight=False, stderr=True)
if not sys.stdout.isatty():
    console.width = PIPE_WIDTH


def set_up_output() -> None:
    """Log lines and prints go the same way, and characters that the encoding lacks are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    terminal = RichHandler(console=console, show_path=False, show_time=False)
    handler = terminal if console.is_interactive else logging.StreamHandler(sys.stdout)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("sam_adapt_ros").setLevel(logging.INFO)


def say(text: str, label: str = "", style: str = "") -> None:
    """Prints a line, whole. label: in front, followed by a colon and shown in the style."""
    _print(console, text, label, style)


def say_error(text: str) -> None:
    """Prints an error to stderr in one line, whatever line breaks it holds."""
    with contextlib.suppress(BrokenPipeError):
        _print(errors, "; ".join(line.strip() for line in text.splitlines() if line.strip()), "error", "bold red")


def make_table(*headers: str, title: str | None = None) -> Table:
    """A table whose cells are broken, not cut, where the terminal is too narrow."""
    columns = (Column(header, overflow="fold") for header in headers)
    return Table(*columns, title=title, title_justify="left")


def _print(target: Console, text: str, label: str, style: str) -> None:
    if label:
        target.print(f"{label}:", style=style, end=" ", soft_wrap=True)
    target.print(text, soft_wrap=True)
