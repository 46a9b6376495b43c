"""Scores of models on drives that nothing was learned from: one protocol for every benchmark in the town."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sam_adapt_ros import geometry, segmentation
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, Evaluation, evaluate
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.arrays import load_arrays, save_arrays
from sam_adapt_ros.io.hashing import hash_sources
from sam_adapt_ros.pipelines.simulated_drives import cache_folder, town_bag
from sam_adapt_ros.progress import Progress, no_progress, part_of, track
from sam_adapt_ros.segmentation import Segmenter

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

    frames: int = 60
    period: float = 0.3
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


@contextmanager
def drive_frames(bag: Path, config: Config) -> Iterator[Iterator[Frame]]:
    """The frames of a drive, true labels included."""
    with ExitStack() as stack:
        yield stack.enter_context(BagReader(bag, config)).frames()


def score(
    segmenter: Segmenter,
    model: str,
    shift: str,
    seed: int,
    config: Config,
    protocol: Protocol,
    *,
    known_as: str = "",
    progress: Progress = no_progress,
) -> list[Score]:
    """The model on each unseen drive of the seed.

    known_as: a name for these very weights, under which confusions are kept on disk from run to run; "": they are not.
    """
    found = []
    drives = protocol.unseen_drives(shift, seed)
    for place, (unseen, bag) in enumerate(drives.items()):
        part = part_of(progress, place, len(drives))
        evaluation = _evaluation(segmenter, bag, config, protocol, known_as, part)
        miou = {key: evaluation.confusion[key].miou_present() for key in KEYS}
        found.append(Score(shift, seed, unseen, model, miou))
    return found


def _evaluation(
    segmenter: Segmenter, bag: Path, config: Config, protocol: Protocol, known_as: str, progress: Progress
) -> Evaluation:
    path = cache_folder("scores") / f"{known_as}-{config.segmenter.fusion}-{_code()[:12]}-{bag.name}.npz"
    evaluation = Evaluation(segmenter.taxonomy)
    if known_as:
        try:
            counts, _ = load_arrays(path)
            for key in KEYS:
                evaluation.confusion[key].counts += counts[key]
            return evaluation
        except (StoreError, KeyError, ValueError):
            evaluation = Evaluation(segmenter.taxonomy)
    with drive_frames(bag, config) as frames:
        evaluation = evaluate(track(frames, progress, protocol.unseen_frames), segmenter)
    if known_as:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, {key: evaluation.confusion[key].counts for key in KEYS})
    return evaluation


@cache
def _code() -> str:
    """What labels depend on besides the weights."""
    return hash_sources(Path(package.__file__ or "").parent for package in (segmentation, geometry))
