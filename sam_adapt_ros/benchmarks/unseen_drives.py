"""Scores of models on drives that nothing was learned from: one protocol for every benchmark in the town."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sam_adapt_ros import geometry, segmentation
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import Config, find_weights
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, Evaluation, evaluate
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.arrays import load_arrays, save_arrays
from sam_adapt_ros.io.hashing import hash_file, hash_sources
from sam_adapt_ros.parallel import Engine, Function, Shard, map_shards
from sam_adapt_ros.pipelines.simulated_drives import cache_folder, town_bag
from sam_adapt_ros.progress import Progress, no_progress, part_of, track
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

SHIFTS = ("night", "new_city", "other_lidar", "night+other_lidar", "new_city+rain")
"""The domain shifts that are reported."""
MISCALIBRATED = "miscalibrated"
"""Joined to each of them in an ablation: masks then fall beside their objects."""
VALIDATION_SEEDS, TEST_SEEDS = tuple(range(60, 70)), tuple(range(110, 120))
"""Of the drives that are learned from: recipes are chosen on the former and reported on the latter."""
KEYS = (FUSED_SEEN, Branch.FUSED.value, *(branch.value for branch in NETWORK_BRANCHES))
"""What is scored: both branches together where a camera sees and everywhere, and each branch alone."""


@dataclass(frozen=True)
class Protocol:
    """Frames, and seconds between them, of the drive that is learned from and of each of the ``unseen`` drives."""

    frames: int = 80
    period: float = 1.25
    unseen: int = 3
    unseen_frames: int = 40
    unseen_period: float = 0.5

    def learned_from(self, shift: str, seed: int, progress: Progress = no_progress) -> Path:
        """The drive that is learned from, as a bag in the cache."""
        return town_bag(shift, seed, self.frames, progress, self.period)

    def unseen_seeds(self, seed: int) -> list[int]:
        """Of the unseen drives, which no drive that is learned from has."""
        return [100 * seed + number for number in range(self.unseen)]

    def unseen_drives(self, shift: str, seed: int, progress: Progress = no_progress) -> dict[int, Path]:
        """Seed -> bag in the cache."""
        seeds = self.unseen_seeds(seed)
        parts = [part_of(progress, place, len(seeds)) for place in range(len(seeds))]
        return {
            each: town_bag(shift, each, self.unseen_frames, part, self.unseen_period)
            for each, part in zip(seeds, parts, strict=True)
        }


@dataclass(frozen=True)
class Score:
    """A model on one unseen drive: mean IoU over the classes that the drive has, by ``KEYS``.

    seed: of the drive that the model learned from. unseen: of the drive.
    """

    shift: str
    seed: int
    unseen: int
    model: str
    miou: dict[str, float]


def one_thread(config: Config) -> Config:
    """The configuration of a measurement: processes share the cores, and figures do not depend on their number."""
    return config.updated({"segmenter.threads": 1})


def drive_frames(bag: Path, config: Config) -> Iterator[Frame]:
    """The frames of a drive, true labels included."""
    with BagReader(bag, config) as reader:
        yield from reader.frames()


class UnseenDrives:
    """The unseen drives of one shift and seed. scores: of the models scored so far."""

    def __init__(self, shift: str, seed: int, config: Config, protocol: Protocol, taxonomy: Taxonomy) -> None:
        self._shift, self._seed, self._config, self._protocol, self._taxonomy = shift, seed, config, protocol, taxonomy
        self.scores: list[Score] = []

    def score(
        self, model: str, make: Callable[[], Segmenter], progress: Progress = no_progress, known_as: str = ""
    ) -> None:
        """Scores a model on each drive.

        make: called where it has to label. known_as: a name for these very weights, under which confusions are kept on
        disk from run to run; "": they are not.
        """
        drives = self._protocol.unseen_drives(self._shift, self._seed)
        made = cache(make)
        for place, (unseen, bag) in enumerate(drives.items()):
            evaluation = self._known(known_as, bag) if known_as else None
            if evaluation is None:
                part = part_of(progress, place, len(drives))
                frames = track(drive_frames(bag, self._config), part, self._protocol.unseen_frames)
                evaluation = evaluate(frames, made())
                if known_as:
                    counts = {key: evaluation.confusion[key].counts for key in KEYS}
                    path = self._path(known_as, bag)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    save_arrays(path, counts)
            miou = {key: evaluation.confusion[key].miou_present() for key in KEYS}
            self.scores.append(Score(self._shift, self._seed, unseen, model, miou))

    def _path(self, known_as: str, bag: Path) -> Path:
        fusion = self._config.segmenter.fusion
        return cache_folder("scores") / f"{known_as}-{fusion}-{_code()[:12]}-{bag.name}.npz"

    def _known(self, known_as: str, bag: Path) -> Evaluation | None:
        """None where there is none yet, or a damaged one."""
        evaluation = Evaluation(self._taxonomy)
        try:
            counts, _ = load_arrays(self._path(known_as, bag))
            for key in KEYS:
                evaluation.confusion[key].counts += counts[key]
        except (StoreError, KeyError, ValueError):
            return None
        return evaluation


@dataclass(frozen=True)
class Task:
    """One shift and seed, for a worker process. what: is measured, can be pickled."""

    what: Any
    shift: str
    seed: int


def measure_all(
    measure: Function[Task],
    what: Any,
    shifts: Sequence[str],
    seeds: Sequence[int],
    output: Path,
    engine: Engine,
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    *,
    force: bool = False,
) -> list[dict[str, Any]]:
    """What ``measure`` leaves as JSON for every shift and seed; what is there in ``output`` is not measured again.

    settings: what the results depend on. Raises OutputError where there are results of others, which ``force``
    replaces.
    """
    tasks = [Task(what, shift, seed) for shift, seed in itertools.product(shifts, seeds)]
    shards = [Shard(f"{task.shift}-{task.seed}.json", task, 100) for task in tasks]
    paths = map_shards(measure, shards, output / "parts", engine, progress, settings, force)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def model_settings(config: Config) -> dict[str, Any]:
    """What scores depend on besides the drives and what is learned."""
    return {
        "weights": hash_file(find_weights(config.segmenter.weights)),
        "segmenter": config.segmenter.model_dump(mode="json"),
    }


@cache
def _code() -> str:
    """What labels depend on besides the weights."""
    return hash_sources(Path(package.__file__ or "").parent for package in (segmentation, geometry))
