"""Data sets -> bags, as the command does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_adapt_ros.datasets import KittiRaw, NuScenes, Selection, convert
from sam_adapt_ros.notices import Notices


def convert_nuscenes(
    root: Path,
    output: Path,
    scenes: Sequence[str] = (),
    sweeps: bool = False,
    dataset_version: str = "",
    notices: Notices | None = None,
    **options: Any,
) -> list[Path]:
    selection = Selection(names=tuple(scenes))
    dataset = NuScenes([root], selection, None, notices, sweeps=sweeps, version=dataset_version)
    return convert(dataset, output, notices=notices, **options)


def convert_kitti(drive: Path | str, output: Path, notices: Notices | None = None, **options: Any) -> Path:
    (bag,) = convert(KittiRaw([drive], Selection(), None, notices), output, notices=notices, **options)
    return bag
