"""Reads .rrd files back."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_rrd(path: Path) -> dict[str, dict[str, list[Any]]]:
    """Values by entity and column, in the order of the frames; stamps in nanoseconds."""
    from rerun.chunk import RrdReader

    found: dict[str, dict[str, list[Any]]] = {}
    for chunk in RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            values = column.cast("int64") if str(column.type).startswith("timestamp") else column
            found.setdefault(str(chunk.entity_path), {}).setdefault(name, []).extend(values.to_pylist())
    return found
