"""Bags with ground truth through a segmenter: its IoU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation
from sam_adapt_ros.progress import Stages, no_stages, track
from sam_adapt_ros.segmentation import load_segmenter

logger = logging.getLogger(__name__)


def evaluate_bags(bags: Sequence[Path], config: Config, stages: Stages = no_stages) -> Evaluation:
    """Labels every frame of the bags and compares it with its ground truth; a stage a bag.

    Raises BagError when no frame has ground truth, WeightsError when the weights do not load. Of several bags, one
    without ground truth is passed over, and named in the log.
    """
    segmenter, config = load_segmenter(config)
    evaluation = Evaluation(segmenter.taxonomy)
    useless: list[str] = []
    for bag in bags:
        before = evaluation.frames
        with stages(f"evaluating {bag.name}") as progress, BagReader(bag, config) as reader:
            for frame in track(reader.frames(), progress, reader.sweeps):
                evaluation.add(frame, segmenter(frame))
        if evaluation.frames == before:
            useless.append(f"{bag}: {_why(reader, config.ground_truth.topic)}")
    if not evaluation.frames:
        raise BagError("; ".join(useless))
    for line in useless:
        logger.warning("passed over: %s", line)
    return evaluation


def _why(reader: BagReader, topic: str) -> str:
    """Why no frame could be compared."""
    if reader.counts.frames:
        return f"no ground truth on {topic or 'any topic'}"
    drops = ", ".join(f"{reason} {count}" for reason, count in reader.counts.dropped.items())
    return f"no sweep could be used ({drops})"
