"""What a recipe makes of a drive without a gate: one student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from sam_adapt_ros.adaptation.batchnorm import reestimate_batchnorm
from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.adaptation.buffer.frame_summary import summarize
from sam_adapt_ros.adaptation.round import label_ensemble
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.benchmarks.unseen_drives import drive_frames
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.masks import build
from sam_adapt_ros.progress import Progress, part_of, track
from sam_adapt_ros.pseudo_labels import PreparedFrame, PseudoLabelGenerator
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork


def check_recipe(name: str, recipe: Config) -> None:
    """Raises ConfigError where a recipe learns from source frames, which a single student is not given."""
    if recipe.adaptation.mode == "with_source":
        raise ConfigError(
            f"recipe {name}: adaptation.mode source_free expected, got with_source, which students without a gate "
            "leave out; give --gate"
        )


def train_student(
    source: Segmenter, config: Config, bag: Path, frames: int, progress: Progress, *, true_labels: bool = False
) -> tuple[Segmenter, dict[str, Any]]:
    """The student of the frames that the buffer keeps of a drive. frames: of the drive. true_labels: see
    ``student_of``."""
    buffer = fill_buffer(source, config, bag, frames, part_of(progress, 0, 2))
    training, held_out = buffer.training(), buffer.held_out()
    student, found = student_of(source, config, training, held_out, part_of(progress, 1, 2), true_labels=true_labels)
    return student, found.as_dict(source.taxonomy.classes)


def fill_buffer(source: Segmenter, config: Config, bag: Path, frames: int, progress: Progress) -> FrameBuffer:
    """The frames that a buffer keeps of a drive. frames: of the drive."""
    buffer = FrameBuffer(config.adaptation.buffer)
    for frame in track(drive_frames(bag, config), progress, frames):
        buffer.add(frame, summarize(frame, source(frame).labels, len(source.taxonomy)))
    return buffer


def student_of(
    source: Segmenter,
    config: Config,
    training: Sequence[Frame],
    held_out: Sequence[Frame],
    progress: Progress,
    *,
    true_labels: bool = False,
) -> tuple[Segmenter, LabelStatistics]:
    """A student of frames, and the statistics of its labels over the points that a camera sees.

    true_labels: learn from the truth instead of pseudo-labels, as much as these frames can teach in this training.

    The gate is left out, and so are the steps that held-out frames decide (temperature scaling, averages of weights,
    and the choice of the BatchNorm statistics to start from: here the re-estimated ones), so that differences between
    the students come from the recipes' labels.
    """
    settings, fusion = config.pseudo_labels, FUSIONS[config.segmenter.fusion]
    generator = PseudoLabelGenerator(settings, build(config.masks), fusion, len(source.taxonomy))
    architecture = source.network.architecture
    prepared = [PreparedFrame.of(frame, architecture, settings.visibility) for frame in chain(training, held_out)]
    samples = [frame.sample for frame in prepared[: len(training)]]
    statistics = reestimate_batchnorm(source.network, samples, config.adaptation.batchnorm)
    networks = label_ensemble(source.network, statistics, generator)
    labelled = samples if true_labels else _pseudo_labelled(networks, generator, training, prepared)
    found = LabelStatistics(len(source.taxonomy))
    for sample, truth in zip(labelled, samples, strict=True):
        assert sample.labels is not None
        found.add(sample.labels, truth.labels, truth.camera >= 0)
    run = SelfTraining(networks[0], labelled, config.adaptation.self_training)
    while not run.finished:
        run.step()
        progress(run.done, run.steps)
    return Segmenter(run.average, source.taxonomy, config.segmenter, "student"), found


def _pseudo_labelled(
    networks: Sequence[SegmentationNetwork],
    generator: PseudoLabelGenerator,
    training: Sequence[Frame],
    prepared: Sequence[PreparedFrame],
) -> list[Sample]:
    """The samples of the training frames, with pseudo-labels. prepared: of these and, after them, of held-out ones."""
    predictions = [generator.predict(networks, frame) for frame in prepared]
    selections, _ = generator.select(predictions[: len(training)], predictions[len(training) :])
    labelled = []
    for frame, each, selection in zip(training, prepared, selections, strict=False):
        labels = generator.densify(frame.views, each.seen, selection.labels).labels
        labelled.append(replace(each.sample, labels=labels[each.sample.rows]))
    return labelled
