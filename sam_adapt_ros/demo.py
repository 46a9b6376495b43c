"""The main job on a drive through the town: rendered once, kept, and played to the real node."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sam_adapt_ros import __version__
from sam_adapt_ros.town import render_drive

DOMAIN, SEED, FRAMES = "day", 100, 75


def town_bag(domain: str, seed: int, frames: int, progress: Callable[[int, int], None] | None = None) -> Path:
    """The drive as a bag, from the cache (``$XDG_CACHE_HOME/sam_adapt_ros``) or rendered into it."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam_adapt_ros" / "town" / __version__
    bag = root / f"{domain}-{seed}-{frames}"
    if not bag.is_dir():  # a bag takes its name when it is whole
        render_drive(domain, seed, frames, bag, progress)
    return bag
