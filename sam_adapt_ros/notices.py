"""What a run degrades, clamps, skips or guesses: said once, in words, and kept for summaries and diagnostics."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping

logger = logging.getLogger(__name__)


def describe_counts(counts: Mapping[str, int]) -> str:
    """Counts by reason, in words: ``overload 4, cloud_fields 1``; "" where there are none."""
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())


class Notices:
    """Sentences for the user, by a key that names the condition. For use by any thread.

    A key is like ``camera_clock:front``, without dots, since the names of diagnostics' values nest by them.

    A sentence names the topic, file or field, what was expected, what came and what to do. ``add`` logs a new condition
    once. Offline runs print all of them at the end and keep them in ``summary.json``; nodes show those that hold in
    ``/diagnostics``, at the level WARN.
    """

    def __init__(self, log: Callable[[str], object] = logger.warning) -> None:
        """log: takes each sentence once."""
        self._log = log
        self._said: set[str] = set()
        self._holding: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, key: str, text: str) -> None:
        """The condition holds. ``text`` replaces the sentence so far (counts may have changed); only the first is
        logged."""
        with self._lock:
            first = key not in self._said
            self._said.add(key)
            self._holding[key] = text
        if first:
            self._log(text)

    def withdraw(self, key: str) -> None:
        """The condition does not hold any more; were it to hold again, it would not be logged a second time."""
        with self._lock:
            self._holding.pop(key, None)

    def set(self, key: str, text: str) -> None:
        """``add``, or with "" ``withdraw``."""
        if text:
            self.add(key, text)
        else:
            self.withdraw(key)

    def update(self, other: Notices) -> None:
        """Takes over what holds in ``other``, which has logged it."""
        with self._lock:
            self._said.update(other._holding)
            self._holding.update(other._holding)

    @classmethod
    def joined(cls, parts: Mapping[str, Notices]) -> Notices:
        """The sentences of several bags, by the bags' names; what several say alike, but for paths and numbers, once,
        with how many of them do. They have been logged."""
        if len(parts) == 1:
            return next(iter(parts.values()))
        said: dict[tuple[str, str], list[str]] = {}  # by key and wording: the first text, and the bags
        for name, notices in parts.items():
            for key, text in notices.as_dict().items():
                wording = re.sub(rf"\S*[/\d]\S*|(?<!\w){re.escape(name)}(?!\w):?", "", text)
                said.setdefault((key, wording), [text]).append(name)
        joined = cls(log=str)
        for number, ((key, _), (text, first, *others)) in enumerate(said.items()):
            alike = f" (and likewise {len(others)} more of the {len(parts)} bags)" if others else ""
            joined.add(f"{key}:{number}" if key in joined._holding else key, f"{first}: {text}{alike}")
        return joined

    def as_dict(self) -> dict[str, str]:
        """The sentences that hold, by their keys."""
        with self._lock:
            return dict(self._holding)

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict().values())

    def __len__(self) -> int:
        return len(self._holding)
