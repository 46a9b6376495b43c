"""Progress on the console: a bar in a terminal, a plain line every few seconds in a pipe, a log file or CI."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from sam_adapt_ros.cli.console import console
from sam_adapt_ros.progress import Progress

LINE_EVERY_S = 5.0


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Shows one stage of work: ``with progress_bar("training") as progress: ...``"""
    if not console.is_interactive:
        with ProgressLines(title, console) as lines:
            yield lines.update
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


class ProgressLines:
    """Prints a first line, a line every few seconds and a last one.

    The lines come from a thread of their own, so that work which reports nothing for a while is not silent either.
    """

    def __init__(
        self,
        title: str,
        console: Console,
        every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._console, self._every_s, self._clock = title, console, every_s, clock
        self._done = self._total = 0
        self._start = clock()
        self._first: tuple[int, float] | None = None  # what was done, and when, at the first report of a count
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print_repeatedly, name="progress", daemon=True)

    def __enter__(self) -> ProgressLines:
        self._print("started")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        outcome = "done" if kind is None else "stopped"
        self._print(*self._counts(), f"{outcome} after {_duration(self._clock() - self._start)}")

    def update(self, done: int, total: int) -> None:
        """A ``Progress``."""
        if self._first is None or done < self._done:
            self._first = done, self._clock()
        self._done, self._total = done, total

    def print_state(self) -> None:
        """One line: done, total, percent, elapsed and, once it can be estimated, remaining time."""
        now = self._clock()
        parts = [*self._counts(), f"{_duration(now - self._start)} elapsed"]
        if self._first is not None and self._first[0] < self._done < self._total:
            seconds_each = (now - self._first[1]) / (self._done - self._first[0])
            parts.append(f"{_duration(seconds_each * (self._total - self._done))} remaining")
        self._print(*parts)

    def _print_repeatedly(self) -> None:
        while not self._ended.wait(self._every_s):
            self.print_state()

    def _counts(self) -> list[str]:
        if not self._total:
            return []
        return [f"{self._done}/{self._total} ({100 * self._done // self._total} %)"]

    def _print(self, *parts: str) -> None:
        self._console.print(f"{self._title}: {', '.join(parts)}", highlight=False, markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
