"""The log of the promotion gate's decisions: a line of JSON a round, in the folder of the adapter's state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.store_errors import store_errors


class DecisionLog:
    """``decisions.jsonl`` in a folder; None: nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "decisions.jsonl"

    def append(self, round_number: int, kept_before: int, decision: Decision) -> None:
        """kept_before: how many frames the buffer had ever kept when the round began. Raises StoreError."""
        if self._path is not None:
            facts = {"round": round_number, "kept_before": kept_before, **decision.as_dict()}
            with store_errors(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(json_values(facts), allow_nan=False) + "\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The decisions, oldest first. A line that a kill has cut short is left out."""
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

    def last_round(self) -> tuple[int, int]:
        """The number of the last round that ended, and ``kept_before`` of it; zeros for none."""
        ended = [
            each for each in self if isinstance(each.get("round"), int) and isinstance(each.get("kept_before"), int)
        ]
        return (ended[-1]["round"], ended[-1]["kept_before"]) if ended else (0, 0)
