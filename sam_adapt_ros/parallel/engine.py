"""Where parts of long work are done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from sam_adapt_ros.parallel.shard import Function, Shard, attempt

Outcome: TypeAlias = tuple[int, Exception | None]
"""The place of a part in the sequence, and what went wrong."""
Outcomes: TypeAlias = Generator[Outcome, None, None]
Report: TypeAlias = Callable[[int, int, int], None]
"""Called with the place of a part and its progress: (place, done, total)."""


class Engine(Protocol):
    """Does parts of work; those whose worker dies are done again."""

    def run(self, function: Function[Any], shards: Sequence[Shard[Any]], folder: Path, report: Report) -> Outcomes:
        """Yields the outcome of every part, as they end. Closing the iterator ends the work.

        folder: of the outputs, which exists.
        """
        ...


class ThisProcess:
    """One part after the other, here."""

    def run(self, function: Function[Any], shards: Sequence[Shard[Any]], folder: Path, report: Report) -> Outcomes:
        for place, shard in enumerate(shards):
            yield place, attempt(function, shard.work, folder / shard.name, partial(report, place))
