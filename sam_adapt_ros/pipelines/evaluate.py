"""Bags with ground truth through a segmenter: its IoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation
from sam_adapt_ros.progress import Stages, no_stages, track
from sam_adapt_ros.segmentation import load_segmenter


def evaluate_bags(bags: Sequence[Path], config: Config, stages: Stages = no_stages) -> Evaluation:
    """Labels every frame of the bags and compares it with its ground truth; a stage a bag.

    Raises BagError when no frame has ground truth, WeightsError when the weights do not load.
    """
    segmenter, config = load_segmenter(config)
    evaluation = Evaluation(segmenter.taxonomy)
    for bag in bags:
        with stages(f"evaluating {bag.name}") as progress, BagReader(bag, config) as reader:
            for frame in track(reader.frames(), progress, reader.sweeps):
                evaluation.add(frame, segmenter(frame))
    if not evaluation.frames:
        raise BagError(f"{', '.join(map(str, bags))}: no ground truth on {config.ground_truth.topic or 'any topic'}")
    return evaluation
