"""Bags with ground truth through a segmenter: its IoU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config, GroundTruthConfig
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation
from sam_adapt_ros.notices import Notices, describe_counts
from sam_adapt_ros.progress import Stages, no_stages, track
from sam_adapt_ros.segmentation import load_segmenter

logger = logging.getLogger(__name__)


def evaluate_bags(bags: Sequence[Path], config: Config, stages: Stages = no_stages) -> Evaluation:
    """Labels every frame of the bags and compares it with its ground truth; a stage a bag.

    Raises BagError when no labelled point could be counted, with the reason, TaxonomyError when the labels are of
    another data set, WeightsError when the weights do not load. Of several bags, one without ground truth is passed
    over, and named in the log.
    """
    segmenter, config = load_segmenter(config)
    evaluation, notices = Evaluation(segmenter.taxonomy), Notices()
    useless: list[str] = []
    for bag in bags:
        before = evaluation.points
        with stages(f"evaluating {bag.name}") as progress, BagReader(bag, config) as reader:
            for frame in track(reader.frames(), progress, reader.sweeps):
                prediction = segmenter(frame)
                prediction.report(notices)
                evaluation.add(frame, prediction)
        if evaluation.points == before:
            useless.append("; ".join([f"{bag}: {_why(reader, config.ground_truth)}", *reader.notices]))
    if not evaluation.points:
        raise BagError("; ".join(useless + list(notices)))
    for line in useless:
        logger.warning("passed over: %s", line)
    return evaluation


def _why(reader: BagReader, truth: GroundTruthConfig) -> str:
    """Why no point could be compared."""
    counts = reader.counts
    if counts.frames:
        how = f"by the mapping {truth.mapping}" if truth.mapping else "of the class set"
        return f"no ground truth on {truth.topic or 'any topic'}, or no labelled point in it with a class {how}"
    return f"no sweep could be used ({describe_counts(counts.dropped)})"
