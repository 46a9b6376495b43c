"""Measured figures. Each module with ``run(quick) -> list[Figure]`` is a benchmark; ``make bench`` runs all."""

from __future__ import annotations

import importlib
import os
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Figure:
    """One measured number, and its target (``"<= 3 ms"``), if it has one."""

    name: str
    value: float
    unit: str
    target: str = ""
    note: str = ""


def all_benchmarks() -> dict[str, ModuleType]:
    """The modules that measure figures, by name."""
    modules = {
        module.name: importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
    }
    return {name: module for name, module in sorted(modules.items()) if callable(getattr(module, "run", None))}


def real_data() -> Path | None:
    """The folder of real nuScenes and KITTI frames: ``$SAM_ADAPT_REAL_DATA``, or ``../shared/data``."""
    named = os.environ.get("SAM_ADAPT_REAL_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    return folder if (folder / "nuscenes_keyframe").is_dir() else None
