"""The main job on a drive through the town: rendered once, kept, and played to the real node."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from sam_adapt_ros import town
from sam_adapt_ros.errors import ConfigError

DOMAIN, SEED, FRAMES = "day", 100, 60
PERIOD = 0.5
"""Seconds from frame to frame: nuScenes' keyframe rate, which two CPU cores can label live."""


def town_bag(domain: str, seed: int, frames: int, progress: Callable[[int, int], None] | None = None) -> Path:
    """The drive as a bag, from the cache (``$XDG_CACHE_HOME/sam_adapt_ros``) or rendered into it."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam_adapt_ros" / "town"
    bag = root / _renderer() / f"{domain}-{seed}-{frames}"
    if not bag.is_dir():  # a bag takes its name when it is whole
        town.render_drive(domain, seed, frames, bag, progress, period=PERIOD)
    return bag


@cache
def _renderer() -> str:
    """Names what renders: bags of another town are not taken for this one's."""
    sources = sorted(Path(town.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def town_drives(
    domains: str, seeds: str, frames: int, progress: Callable[[int, int], None] | None = None
) -> dict[str, list[Path]]:
    """``town_bag`` of each seed, by domain. domains: comma-separated; seeds: ``60-62`` or ``60,64``.

    Raises ConfigError for what is no domain or no seeds.
    """
    names = [name.strip() for name in domains.split(",")]
    numbers = parse_seeds(seeds)
    wanted = [(name, seed) for name in names for seed in numbers]
    drives: dict[str, list[Path]] = {name: [] for name in names}
    for place, (name, seed) in enumerate(wanted):
        drives[name].append(town_bag(name, seed, frames, _part(progress, place * frames, len(wanted) * frames)))
    return drives


def parse_seeds(text: str) -> list[int]:
    """``60-62`` -> 60, 61, 62; ``60,64`` -> 60, 64. Raises ConfigError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) < int(first):
            raise ConfigError(f"seeds: 60-62 or 60,64 expected, got {text!r}")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _part(progress: Callable[[int, int], None] | None, before: int, total: int) -> Callable[[int, int], None] | None:
    """Progress of one drive as a part of all."""
    return None if progress is None else lambda done, _: progress(before + done, total)
