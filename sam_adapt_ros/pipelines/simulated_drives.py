"""Drives that the simulator renders, kept in a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

from sam_adapt_ros import simulation
from sam_adapt_ros.progress import Progress, no_progress, part_of
from sam_adapt_ros.resources import user_folder

PERIOD = 0.5
"""Seconds from frame to frame: nuScenes' keyframe rate, which two CPU cores can label live."""


def town_bag(domain: str, seed: int, frames: int, progress: Progress = no_progress) -> Path:
    """A drive as a bag, from the cache or rendered into it. Raises ConfigError for an unknown domain."""
    bag = cache_folder("town") / f"{domain}-{seed}-{frames}"
    if not bag.is_dir():  # a bag takes its name when it is whole
        simulation.render_drive(domain, seed, frames, bag, progress, period=PERIOD)
    return bag


def town_drives(
    domains: Sequence[str], seeds: Sequence[int], frames: int, progress: Progress = no_progress
) -> dict[str, list[Path]]:
    """``town_bag`` of each seed, by domain. Raises ConfigError for an unknown domain."""
    drives: dict[str, list[Path]] = {domain: [] for domain in domains}
    for place, (domain, seed) in enumerate(product(domains, seeds)):
        drives[domain].append(town_bag(domain, seed, frames, part_of(progress, place, len(domains) * len(seeds))))
    return drives


def cache_folder(kind: str) -> Path:
    """``$XDG_CACHE_HOME/sam_adapt_ros/<kind>/<simulator's version>``, ``~/.cache`` by default."""
    return user_folder("XDG_CACHE_HOME", ".cache") / "sam_adapt_ros" / kind / _simulator_version()


@cache
def _simulator_version() -> str:
    """A hash of the simulator's sources: drives that another version rendered are not taken for this one's."""
    sources = sorted(Path(simulation.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
