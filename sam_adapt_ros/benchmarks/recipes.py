"""Comparison of recipes on the same frames, without a gate; the default recipe was chosen by it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, product
from pathlib import Path

import numpy as np

from sam_adapt_ros.adaptation.batchnorm import reestimate_batchnorm
from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.adaptation.buffer.frame_sequence import FrameSequence
from sam_adapt_ros.adaptation.buffer.frame_summary import summarize as summarize_frame
from sam_adapt_ros.adaptation.round import label_ensemble
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.benchmarks.adaptation import Protocol
from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, evaluate
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.masks import build
from sam_adapt_ros.progress import Progress, Stages, no_stages, track
from sam_adapt_ros.pseudo_labels import PreparedFrame, PseudoLabelGenerator
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.simulation.drive import frames as render

logger = logging.getLogger(__name__)

KEYS = (FUSED_SEEN, Branch.FUSED, *NETWORK_BRANCHES)


@dataclass(frozen=True)
class Row:
    """The student of a recipe, or ``source``, on the unseen drive: mean IoU by modality.

    coverage, precision: of its pseudo-labels, over the points that a camera sees; 0 for ``source``.
    """

    recipe: str
    shift: str
    seed: int
    miou: dict[str, float]
    coverage: float = 0.0
    precision: float = 0.0


def compare_recipes(
    config: Config,
    recipes: Mapping[str, Config],
    shifts: Sequence[str],
    seeds: Sequence[int],
    protocol: Protocol = Protocol(),
    output: Path | None = None,
    stages: Stages = no_stages,
) -> list[Row]:
    """Trains one student per recipe, shift and seed, on the frames that the buffer keeps of a drive.

    The gate is left out, and so are the steps that held-out frames decide (temperature scaling, averages of weights,
    and the choice of the BatchNorm statistics to start from: here the re-estimated ones), so that differences between
    the students come from the recipes' labels.

    Args:
        config: of the segmenter and the buffer.
        recipes: configurations by name.
        output: a JSON file, rewritten after each student.

    Raises:
        ConfigError: a recipe learns from source frames, which are left out as well.
    """
    for name, settings in recipes.items():
        if settings.adaptation.mode == "with_source":
            raise ConfigError(
                f"recipe {name}: adaptation.mode source_free expected, got with_source, which this comparison leaves "
                "out; use sam-adapt bench-adaptation for it"
            )
    source, config = load_segmenter(config)
    rows: list[Row] = []
    for shift, seed in product(shifts, seeds):
        drive = f"{shift}, seed {seed}"
        buffer = FrameBuffer(config.adaptation.buffer)
        with stages(f"{drive}: collecting frames") as progress:
            for frame in track(render(shift, seed, protocol.frames, protocol.period), progress, protocol.frames):
                buffer.add(frame, summarize_frame(frame, source(frame).labels, len(source.taxonomy)))
        unseen = list(render(shift, seed + 5, protocol.unseen_frames, protocol.unseen_period))
        for name, recipe in {"source": None, **recipes}.items():
            segmenter, coverage, precision = source, 0.0, 0.0
            if recipe is not None:
                recipe = recipe.model_copy(update={"taxonomy": config.taxonomy})
                with stages(f"{drive}: training with recipe {name}") as progress:
                    segmenter, coverage, precision = _student(
                        source, recipe, buffer.training(), buffer.held_out(), progress
                    )
            with stages(f"{drive}: scoring {name}") as progress:
                scores = evaluate(track(unseen, progress, len(unseen)), segmenter)
            rows.append(Row(name, shift, seed, {key: scores.miou(key) for key in KEYS}, coverage, precision))
            logger.info("%s, %s: %s", drive, name, rows[-1].miou)
            if output is not None:
                write_rows(rows, output)
    return rows


def _student(
    source: Segmenter, config: Config, training: FrameSequence, held_out: FrameSequence, progress: Progress
) -> tuple[Segmenter, float, float]:
    """The student of one round, and coverage and precision of its pseudo-labels over the seen points."""
    adaptation = config.adaptation
    fusion, classes = FUSIONS[config.segmenter.fusion], len(source.taxonomy)
    generator = PseudoLabelGenerator(config.pseudo_labels, build(config.masks), fusion, classes)
    architecture, visibility = source.network.architecture, config.pseudo_labels.visibility
    prepared = [PreparedFrame.of(frame, architecture, visibility) for frame in chain(training, held_out)]
    samples = [frame.sample for frame in prepared[: len(training)]]
    statistics = reestimate_batchnorm(source.network, samples, adaptation.batchnorm)
    networks = label_ensemble(source.network, statistics, generator)
    predictions = [generator.predict(networks, frame) for frame in prepared]
    selections, _ = generator.select(predictions[: len(training)], predictions[len(training) :])
    found = LabelStatistics(classes)
    labelled = []
    for frame, each, selection in zip(training, prepared, selections, strict=False):
        labels = generator.densify(frame.views, each.seen, selection.labels).labels[each.sample.rows]
        found.add(labels, each.sample.labels, each.sample.camera >= 0)
        labelled.append(replace(each.sample, labels=labels))
    run = SelfTraining(networks[0], labelled, adaptation.self_training)
    while not run.finished:
        run.step()
        progress(run.done, adaptation.self_training.steps)
    student = Segmenter(run.average, source.taxonomy, config.segmenter, "student")
    return (student, found.coverage, found.precision) if run.done else (student, 0.0, 0.0)


def summarize(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """By recipe and shift: mean over seeds of every modality's mean IoU, of coverage and precision, and the spread
    (standard deviation) of ``fused_seen``'s difference to ``source``."""
    sources = {(row.shift, row.seed): row for row in rows if row.recipe == "source"}
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name in dict.fromkeys(row.recipe for row in rows):
        for shift in dict.fromkeys(row.shift for row in rows if row.recipe == name):
            of = [row for row in rows if (row.recipe, row.shift) == (name, shift)]
            gains = [row.miou[FUSED_SEEN] - sources[shift, row.seed].miou[FUSED_SEEN] for row in of]
            table.setdefault(name, {})[shift] = {
                **{key: float(np.mean([row.miou[key] for row in of])) for key in KEYS},
                "gain": float(np.mean(gains)),
                "gain_spread": float(np.std(gains)),
                "coverage": float(np.mean([row.coverage for row in of])),
                "precision": float(np.mean([row.precision for row in of])),
            }
    return table


def write_rows(rows: Sequence[Row], output: Path) -> None:
    facts = {"summary": summarize(rows), "rows": [asdict(row) for row in rows]}
    write_text(output, json.dumps(json_values(facts), indent=1) + "\n")
