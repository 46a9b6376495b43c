"""The log of the rounds: a line of JSON each, in the folder of the adapter's state, with the promotion gate's decision.

A line without a decision says from when on frames are new: a round was abandoned, or the frames were forgotten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.store_errors import store_errors


class DecisionLog:
    """``decisions.jsonl`` in a folder; None: nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "decisions.jsonl"

    def append(self, round_number: int, kept_before: int, decision: Decision | None) -> None:
        """A round that has ended; decision: None where it was abandoned, or the frames were forgotten.

        kept_before: how many frames the buffer had ever kept when the round began, or was abandoned: those after them
        are new for the next one. Raises StoreError.
        """
        if self._path is not None:
            facts = {"round": round_number, "kept_before": kept_before, **(decision.as_dict() if decision else {})}
            line = json.dumps(json_values(facts), allow_nan=False).encode() + b"\n"
            with store_errors(self._path), self._path.open("a+b") as file:
                if file.seek(0, os.SEEK_END) and not _ends_line(file):
                    line = b"\n" + line  # else a line that was cut short would spoil this one, too
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The decisions, oldest first. A line that a kill or a full disk has cut short is left out."""
        return (facts for facts in self._lines() if "promoted" in facts)

    def last_round(self) -> tuple[int, int]:
        """The number of the last round that ended, and ``kept_before`` of it; zeros for none."""
        ended = [
            each
            for each in self._lines()
            if isinstance(each.get("round"), int) and isinstance(each.get("kept_before"), int)
        ]
        return (ended[-1]["round"], ended[-1]["kept_before"]) if ended else (0, 0)

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = [] if self._path is None else self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                facts = json.loads(line)
            except ValueError:
                continue
            if isinstance(facts, dict):
                yield facts


def _ends_line(file: IO[bytes]) -> bool:
    """Whether the last byte of a file that is not empty ends a line."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
