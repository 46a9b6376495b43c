"""Drives through the town and what labels would make of them: made once, and kept in a cache."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sam_adapt_ros import simulation as town
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.pipelines import recovery
from sam_adapt_ros.progress import Progress, no_progress, part_of
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.weights import Weights

PERIOD = 0.5
"""Seconds from frame to frame: nuScenes' keyframe rate, which two CPU cores can label live."""


def town_bag(domain: str, seed: int, frames: int, progress: Progress = no_progress) -> Path:
    """The drive as a bag, from the cache (``$XDG_CACHE_HOME/sam_adapt_ros``) or rendered into it."""
    bag = _cache("town") / f"{domain}-{seed}-{frames}"
    if not bag.is_dir():  # a bag takes its name when it is whole
        town.render_drive(domain, seed, frames, bag, progress, period=PERIOD)
    return bag


@dataclass(frozen=True)
class OraclePlan:
    """How the source model is trained on with the true labels of a domain: on which drives, and how long."""

    domain: str
    seeds: tuple[int, ...]
    frames: int
    steps: int


def oracle(plan: OraclePlan, config: Config) -> Path:
    """The weights file of the oracle, from the cache or trained into it: minutes of one core.

    Raises WeightsError when the source model does not load.
    """
    source, config = load_segmenter(config)
    training = recovery.ORACLE_TRAINING.model_copy(update={"steps": plan.steps})
    recipe = f"{plan} {PERIOD} {training} weighed on kept-out frames {config.adaptation.batchnorm} {source.version}"
    path = _cache("oracles") / f"{plan.domain}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.safetensors"
    if not path.is_file():
        samples = []
        for seed in plan.seeds:
            with BagReader(town_bag(plan.domain, seed, plan.frames), config) as reader:
                samples += recovery.to_samples(reader.frames(), source)
        network = recovery.train_oracle(source, samples, config, training).network
        taxonomy = source.taxonomy
        content = Weights(network.state_dict(), taxonomy.name, taxonomy.classes, network.architecture)
        weights_files.save(path, content)
    return path


@contextmanager
def oracle_in_background(plan: OraclePlan, config: Config) -> Iterator[Callable[[], Segmenter]]:
    """``oracle`` by a process of its own on one core; what is yielded waits for it and loads it."""
    source, settled = load_segmenter(config)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_one_thread) as pool:
        made = pool.submit(oracle, plan, config)
        yield lambda: Segmenter.load(made.result(), settled.segmenter, source.taxonomy)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _cache(kind: str) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "sam_adapt_ros" / kind / _renderer()


@cache
def _renderer() -> str:
    """Names what renders: bags of another town are not taken for this one's."""
    sources = sorted(Path(town.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def town_drives(domains: str, seeds: str, frames: int, progress: Progress = no_progress) -> dict[str, list[Path]]:
    """``town_bag`` of each seed, by domain. domains: comma-separated; seeds: ``60-62`` or ``60,64``.

    Raises ConfigError for what is no domain or no seeds.
    """
    names = [name.strip() for name in domains.split(",")]
    numbers = parse_seeds(seeds)
    wanted = [(name, seed) for name in names for seed in numbers]
    drives: dict[str, list[Path]] = {name: [] for name in names}
    for place, (name, seed) in enumerate(wanted):
        drives[name].append(town_bag(name, seed, frames, part_of(progress, place, len(wanted))))
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
