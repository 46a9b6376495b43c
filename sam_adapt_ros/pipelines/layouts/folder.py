"""A layout's folder: rendered beside its place, and moved there when it is whole; or kept in a cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from sam_adapt_ros.errors import ConfigError, OutputError
from sam_adapt_ros.io.hashing import hash_sources
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.io.outputs import output_errors
from sam_adapt_ros.pipelines.layouts import a2d2, nuscenes, semantickitti, virtual_kitti
from sam_adapt_ros.pipelines.simulated_drives import PATIENCE_S, cache_folder
from sam_adapt_ros.progress import Progress, no_progress

LAYOUTS: dict[str, Callable[..., None]] = {
    "nuscenes": nuscenes.write,
    "semantickitti": semantickitti.write,
    "a2d2": a2d2.write,
    "virtual_kitti": virtual_kitti.write,
}
"""By the names of the data sets."""


def write_layout(
    name: str, output: Path, frames: int, seed: int = 0, force: bool = False, progress: Progress = no_progress
) -> None:
    """Renders a data set of ``frames`` frames a drive.

    output: the folder. seed: another is another town. force: replace a folder that is there. progress: of drives.
    Raises ConfigError for an unknown layout, and OutputError when the output is there or cannot be written.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"layout: one of {', '.join(LAYOUTS)} expected, got {name!r}")
    if output.exists() and not force:
        raise OutputError(f"{output} exists; choose another output or give --force")
    with output_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
            root = Path(folder) / output.name
            LAYOUTS[name](root, frames, seed, progress=progress)
            if output.is_dir():
                _remove(output, {path.name for path in root.iterdir()})
            root.rename(output)


def _remove(folder: Path, names: set[str]) -> None:
    """Removes an earlier layout of these names. Raises OutputError when there is anything else."""
    if others := sorted(path.name for path in folder.iterdir() if path.name not in names):
        raise OutputError(f"{folder}: has other files, such as {others[0]}; choose another output")
    shutil.rmtree(folder)


def town_layout(name: str, frames: int, seed: int = 0, progress: Progress = no_progress) -> Path:
    """``write_layout`` into the cache, by one process at a time, or what is there already."""
    version = hash_sources([Path(__file__).parent])[:12]
    folder = cache_folder("layouts") / f"{name}-{seed}-{frames}-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock"), PATIENCE_S):
            if not folder.is_dir():
                write_layout(name, folder, frames, seed, progress=progress)
    return folder
