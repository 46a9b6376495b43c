"""Progress of long work, reported through a callback: libraries print nothing, the caller displays it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit of the work: frames, training steps, bytes. A total of 0 is not known yet."""

Stages = Callable[[str], AbstractContextManager[Progress]]
"""Starts a named stage of longer work: ``with stages("rendering the drive") as progress: ...``"""


def no_progress(done: int, total: int) -> None:
    """Shows nothing."""


def no_stages(title: str) -> AbstractContextManager[Progress]:
    """Shows nothing of any stage."""
    return nullcontext(no_progress)


def part_of(progress: Progress, part: int, parts: int) -> Progress:
    """Progress of one of ``parts`` equally long pieces of work, ``part`` counted from 0, as progress of them all."""
    return lambda done, total: progress(part * total + done, parts * total)


def track(items: Iterable[T], progress: Progress, total: int) -> Iterator[T]:
    """Iterates over ``items`` and reports each as done when the next one is requested."""
    progress(0, total)
    for done, item in enumerate(items, 1):
        yield item
        progress(done, total)
