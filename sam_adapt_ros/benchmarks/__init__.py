"""Measured figures. One module a room, each with ``run(quick) -> list[Figure]``; ``make bench`` runs all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number and what it was meant to be (``"<= 3 ms"``), if anything."""

    name: str
    value: float
    unit: str
    target: str = ""
    note: str = ""


def real_data() -> Path | None:
    """The folder of real nuScenes and KITTI frames: ``$SAM_ADAPT_REAL_DATA``, or ``../shared/data``."""
    named = os.environ.get("SAM_ADAPT_REAL_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    return folder if (folder / "nuscenes_keyframe").is_dir() else None
