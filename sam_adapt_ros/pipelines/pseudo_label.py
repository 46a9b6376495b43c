"""A bag through the pseudo-labels, in process: what the adapter learns from, looked at by itself. Deterministic."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.pseudo_label_summary import PseudoLabelSummary
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.masks import build
from sam_adapt_ros.pipelines.replay import read_through, write_labels
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.pseudo_labels import PseudoLabeler
from sam_adapt_ros.segmentation import Prediction, load_segmenter
from sam_adapt_ros.visualization.pseudo_label_pictures import PseudoLabelSample
from sam_adapt_ros.visualization.pseudo_label_report import write_pseudo_label_report

TOPIC = "/pseudo_labels"


def pseudo_label(
    bag: Path, config: Config, output: Path, *, force: bool = False, progress: Progress = no_progress
) -> PseudoLabelSummary:
    """Pseudo-labels every frame of ``bag``; leaves ``pseudo_labels`` (a bag), ``summary.json``, pictures and
    ``report.html``.

    The bag's label clouds have class 255 where there is no label; ``probability`` is the segmenter's for the class
    given, be it the winning one or not. progress: called with (frames done, frames in all).
    Raises BagError, WeightsError, MaskError or CalibrationError that say what does not fit.
    """
    output.mkdir(parents=True, exist_ok=True)
    segmenter, config = load_segmenter(config)
    taxonomy = segmenter.taxonomy
    labeler = PseudoLabeler(config.pseudo_labels, build(config.masks), len(taxonomy))
    summary = PseudoLabelSummary(taxonomy)
    samples: list[PseudoLabelSample] = []
    with BagWriter(output / "pseudo_labels", force=force) as writer:
        segmenter.warm_up()
        start = time.perf_counter()
        for frame, waited, pictured in read_through(bag, config, summary, progress):
            predicting = time.perf_counter()
            prediction = segmenter(frame)
            predicted = time.perf_counter()
            pseudo = labeler(frame, prediction, compare=True)
            writing = time.perf_counter()
            write_labels(writer, TOPIC, frame, pseudo.labels, _probability(prediction, pseudo.labels), taxonomy)
            done = time.perf_counter()
            summary.add_pseudo_labels(frame, prediction, pseudo)
            summary.add_latencies(
                {
                    "wait_for_input": waited,
                    "predict": predicted - predicting,
                    **pseudo.timings,
                    "write": done - writing,
                }
            )
            if pictured:
                samples.append(PseudoLabelSample(frame, pseudo))
        summary.seconds = time.perf_counter() - start
    summary.facts = {
        "bag": str(bag),
        "mode": "pseudo-label",
        "weights": segmenter.version,
        "device": str(segmenter.device),
        "masks_by": config.masks.generator,
        "propagation": config.pseudo_labels.enhancement.propagation,
    }
    write_pseudo_label_report(summary, samples, output, title=f"Pseudo-labels of {bag.name}")
    return summary


def _probability(prediction: Prediction, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N,) the segmenter's probability of the label that a point was given; 0 where there is none."""
    given = np.flatnonzero(labels != IGNORE)
    probability = np.zeros(len(labels), np.float32)
    probability[given] = prediction.fused[given, labels[given]]
    return probability
