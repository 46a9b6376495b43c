"""Bags with ground truth through a segmenter: its IoU."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.bags.fingerprint import fingerprint
from sam_adapt_ros.config import Config, GroundTruthConfig
from sam_adapt_ros.errors import BagError, WeightsError
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation
from sam_adapt_ros.io.arrays import load_arrays, save_arrays
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.notices import Notices, describe_counts
from sam_adapt_ros.parallel import Engine, Shard, map_shards
from sam_adapt_ros.pipelines.bag_frames import count_sweeps
from sam_adapt_ros.pipelines.bag_stream import unique_names
from sam_adapt_ros.progress import Progress, Stages, no_stages, track
from sam_adapt_ros.segmentation import Segmenter, load_segmenter

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"


@dataclass(frozen=True)
class _Work:
    """A bag to evaluate, and the version of the weights that the configuration is to name, on any machine."""

    bag: Path
    config: str  # as JSON
    weights: str


def evaluate_bags(
    bags: Sequence[Path],
    config: Config,
    stages: Stages = no_stages,
    engine: Engine | None = None,
    folder: Path | None = None,
) -> Evaluation:
    """Labels every frame of the bags and compares it with its ground truth.

    engine: see ``map_shards``; a part is a bag. folder: keeps each bag's counts, so that an evaluation that was
    interrupted goes on, and one of more bags evaluates these alone; then also ``summary.json``. None: nothing is kept.

    Raises BagError when no labelled point could be counted, with the reason, TaxonomyError when the labels are of
    another data set, WeightsError when the weights do not load. Of several bags, one without ground truth is passed
    over, and named in the log.
    """
    segmenter, config = load_segmenter(config)
    text = config.model_dump_json()
    names = unique_names(bags)
    shards = [
        Shard(f"{name}-{fingerprint(bag)}.npz", _Work(bag, text, segmenter.version), _sweeps(bag, config))
        for name, bag in zip(names, bags, strict=True)
    ]
    settings = {"config": config.model_dump(mode="json"), "weights": segmenter.version}
    title = f"evaluating {bags[0].name}" if len(bags) == 1 else f"evaluating {len(bags)} bags"
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as place, stages(title) as progress:
        outputs = map_shards(_evaluate_bag, shards, Path(place), engine, progress, settings)
        evaluation = _sum(outputs, Evaluation(segmenter.taxonomy))
        facts = {"bag": ", ".join(map(str, bags)), "mode": "evaluate", "weights": segmenter.version}
        write_text(Path(place) / SUMMARY, json.dumps({**facts, **evaluation.summary()}, indent=2) + "\n")
        return evaluation


def _evaluate_bag(work: _Work, output: Path, progress: Progress) -> None:
    """The counts of one bag, and why there are none."""
    segmenter, config = _load(work.config, work.weights)
    evaluation, notices = Evaluation(segmenter.taxonomy), Notices()
    with BagReader(work.bag, config) as reader:
        for frame in track(reader.frames(), progress, reader.sweeps):
            prediction = segmenter(frame)
            prediction.report(notices)
            evaluation.add(frame, prediction)
    reasons = [] if evaluation.points else [f"{work.bag}: {_why(reader, config.ground_truth)}", *reader.notices]
    facts = {"frames": evaluation.frames, "useless": "; ".join(reasons), "notices": notices.as_dict()}
    save_arrays(output, {key: confusion.counts for key, confusion in evaluation.confusion.items()}, facts)


def _sum(outputs: Sequence[Path], evaluation: Evaluation) -> Evaluation:
    """The counts of all bags, added."""
    useless: list[str] = []
    notices: dict[str, str] = {}
    for output in outputs:
        arrays, facts = load_arrays(output)
        evaluation.frames += facts["frames"]
        for key, counts in arrays.items():
            confusion = evaluation.confusion.setdefault(key, Confusion(len(evaluation.taxonomy)))
            confusion.counts += counts
        useless += [facts["useless"]] if facts["useless"] else []
        notices |= facts["notices"]
    if not evaluation.points:
        raise BagError("; ".join([*useless, *notices.values()]))
    for line in useless:
        logger.warning("passed over: %s", line)
    return evaluation


@lru_cache(maxsize=1)
def _load(config: str, weights: str) -> tuple[Segmenter, Config]:
    """Once for all bags that a process evaluates."""
    segmenter, loaded = load_segmenter(Config.model_validate_json(config))
    if segmenter.version != weights:
        path = loaded.segmenter.weights
        raise WeightsError(f"{path}: version {weights} expected, as on the machine that began, got {segmenter.version}")
    return segmenter, loaded


def _sweeps(bag: Path, config: Config) -> int:
    """How many the bag has, for the progress; a bag that cannot be read says so when its turn comes."""
    try:
        return max(count_sweeps(bag, config), 1)
    except BagError:
        return 1


def _why(reader: BagReader, truth: GroundTruthConfig) -> str:
    """Why no point could be compared."""
    counts = reader.counts
    if counts.frames:
        how = f"by the mapping {truth.mapping}" if truth.mapping else "of the class set"
        return f"no ground truth on {truth.topic or 'any topic'}, or no labelled point in it with a class {how}"
    return f"no sweep could be used ({describe_counts(counts.dropped)})"
