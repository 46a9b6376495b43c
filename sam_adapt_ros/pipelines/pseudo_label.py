"""A bag through the pseudo-labels, in process: what the adapter would learn from. Deterministic."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.pseudo_label_summary import PseudoLabelSummary
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.masks import build
from sam_adapt_ros.parallel import Engine
from sam_adapt_ros.pipelines.bag_frames import write_labels
from sam_adapt_ros.pipelines.bag_masks import cache_masks
from sam_adapt_ros.pipelines.bag_pseudo_labels import BagPseudoLabels
from sam_adapt_ros.progress import Stages, no_stages, track
from sam_adapt_ros.pseudo_labels import Selection
from sam_adapt_ros.segmentation import load_segmenter
from sam_adapt_ros.visualization.pseudo_label_pictures import PseudoLabelFrame
from sam_adapt_ros.visualization.pseudo_label_report import write_pseudo_label_report
from sam_adapt_ros.visualization.run_report import PICTURES, evenly_spaced, prepare_report

TOPIC = "/pseudo_labels"


def pseudo_label(
    bag: Path,
    config: Config,
    output: Path,
    *,
    engine: Engine | None = None,
    force: bool = False,
    stages: Stages = no_stages,
) -> PseudoLabelSummary:
    """Pseudo-labels every frame of ``bag`` as the adapter would; leaves ``pseudo_labels`` (a bag), ``summary.json``,
    pictures and ``report.html``.

    The bag's label clouds have class 255 where there is no label; ``probability`` is the ensemble's where it predicts
    the label itself, and 0 where a mask gave it.
    engine: makes the masks, which take longest, some sweeps a task; None: this process does, frame by frame.
    Raises OutputError before the work begins, BagError, WeightsError, MaskError or CalibrationError.
    """
    prepare_report(output, force=force)
    labels = BagWriter(output / "pseudo_labels", force=force)
    segmenter, config = load_segmenter(config)
    scratch = output / ".masks"
    if engine is not None and not config.masks.cache:
        config = config.model_copy(update={"masks": config.masks.model_copy(update={"cache": str(scratch / "cache")})})
    taxonomy = segmenter.taxonomy
    summary = PseudoLabelSummary(taxonomy)
    shown: list[PseudoLabelFrame] = []
    start = time.perf_counter()
    with labels as writer:
        with stages("predicting") as progress:
            made = BagPseudoLabels(bag, config, segmenter, build(config.masks), progress)
        if engine is not None:
            selected = {stamp: each.labels for stamp, each in zip(made.stamps, made.selections, strict=True)}
            with stages("making masks") as progress:
                cache_masks(bag, config, made.frames_in, selected, scratch, engine, progress)
        frames = len(made.selections)
        pictured = evenly_spaced(frames, PICTURES)
        with stages("pseudo-labelling") as progress:
            for place, (frame, prediction, selection, pseudo) in enumerate(track(made.labelled(), progress, frames)):
                with summary.timed("write"):
                    write_labels(writer, TOPIC, frame, pseudo.labels, _probability(selection, pseudo.labels), taxonomy)
                summary.add_latencies(pseudo.timings)
                seen = prediction.to_frame(prediction.seen, False)
                outcomes = [
                    record.reason.value if record.reason else "labelled"
                    for camera in pseudo.cameras
                    for record in camera.records
                ]
                summary.add_pseudo_labels(selection.ensemble, frame.ground_truth, seen, pseudo.stages(), outcomes)
                if place in pictured:
                    shown.append(PseudoLabelFrame(frame, pseudo))
    summary.seconds = time.perf_counter() - start
    summary.frames_in, summary.dropped, summary.camera_drops = made.frames_in, made.dropped, made.camera_drops
    summary.notices.update(made.notices)
    summary.facts = {
        "bag": str(bag),
        "mode": "pseudo-label",
        "weights": segmenter.version,
        "device": str(segmenter.device),
        "masks_by": config.masks.generator,
        "propagation": config.pseudo_labels.enhancement.propagation,
    }
    shutil.rmtree(scratch, ignore_errors=True)
    with stages("drawing the report"):
        write_pseudo_label_report(summary, shown, output, title=f"Pseudo-labels of {bag.name}")
    return summary


def _probability(selection: Selection, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N,) the ensemble's probability of the label that a point was given, 0 where it predicts another or none."""
    own = (labels == selection.ensemble) & (labels != IGNORE)
    return np.where(own, selection.probability, np.float32(0))
