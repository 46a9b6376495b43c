"""Drives that the simulator renders; those of benchmarks and the demo are kept in a cache."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from sam_adapt_ros import simulation
from sam_adapt_ros.bags import Storage
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.progress import Progress, no_progress, part_of
from sam_adapt_ros.resources import user_folder

PERIOD = 0.5
"""Seconds from frame to frame: nuScenes' keyframe rate, which two CPU cores can label live."""
PATIENCE_S = 3600.0
"""How long another process may take to render or train the same."""


def town_bag(domain: str, seed: int, frames: int, progress: Progress = no_progress, period: float = PERIOD) -> Path:
    """A drive as a bag, from the cache or rendered into it, by one process at a time.

    Raises ConfigError for an unknown domain.
    """
    name = f"{domain}-{seed}-{frames}" + (f"-{period:g}" if period != PERIOD else "")
    bag = cache_folder("town") / name
    if not bag.is_dir():  # a bag takes its name when it is whole
        bag.parent.mkdir(parents=True, exist_ok=True)
        with locked(bag.with_name(f".{name}.lock"), PATIENCE_S):
            if not bag.is_dir():
                simulation.render_drive(domain, seed, frames, bag, progress, period=period)
    return bag


def town_drives(
    domains: Sequence[str],
    seeds: Sequence[int],
    frames: int,
    progress: Progress = no_progress,
    period: float = PERIOD,
) -> dict[str, list[Path]]:
    """``town_bag`` of each seed, by domain. Raises ConfigError for an unknown domain."""
    drives: dict[str, list[Path]] = {domain: [] for domain in domains}
    for place, (domain, seed) in enumerate(product(domains, seeds)):
        part = part_of(progress, place, len(domains) * len(seeds))
        drives[domain].append(town_bag(domain, seed, frames, part, period))
    return drives


def render_drives(
    domain: str,
    seeds: Sequence[int],
    frames: int,
    folder: Path,
    progress: Progress = no_progress,
    force: bool = False,
    storage: Storage = "mcap",
    period: float = PERIOD,
) -> None:
    """Renders a drive of each seed as a bag of ``folder``, named ``<domain>-<seed>``. Raises as ``render_drive``."""
    for place, seed in enumerate(seeds):
        part = part_of(progress, place, len(seeds))
        simulation.render_drive(domain, seed, frames, folder / f"{domain}-{seed}", part, force, storage, period)


def cache_folder(kind: str) -> Path:
    """``$XDG_CACHE_HOME/sam_adapt_ros/<kind>/<simulator's version>``, ``~/.cache`` by default: drives that another
    version rendered are not taken for this one's."""
    return user_folder("XDG_CACHE_HOME", ".cache") / "sam_adapt_ros" / kind / simulation.domains_hash()[:12]
