"""Training on labelled frames of the source domain, on frames of the target, or on both, with xMUDA's losses."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.bags.clips import find_bags
from sam_adapt_ros.config import Config, load_architecture
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.io.outputs import prepare_folder
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.device import choose_device
from sam_adapt_ros.training.data_sets import open_sets
from sam_adapt_ros.training.frame_samples import FrameSamples, TrainingSet
from sam_adapt_ros.training.ranks import Ranks, start_ranks
from sam_adapt_ros.training.trainer import CHECKPOINT, VALIDATION, WEIGHTS, Trainer, TrainingResult

logger = logging.getLogger(__name__)


def train(
    config: Config,
    resume: bool = False,
    progress: Progress = no_progress,
    *,
    force: bool = False,
) -> TrainingResult:
    """Trains a network by ``config.training`` and writes ``<output>/weights.safetensors``.

    With frames to validate on, that file holds the checkpoint whose fused mean IoU is best, else the last.

    Args:
        resume: go on from ``<output>/checkpoint.safetensors`` where there is one; the result is that of an unbroken
            run.
        progress: called with the iterations done and their number.
        force: replace what an earlier run left.
    Raises:
        OutputError: the output cannot be written, or has an earlier run's files.
        ConfigError: there is nothing to learn from, the run that is resumed had other settings, or the processes are
            not those of ``config.fabric``.
        BagError: a bag or a data set cannot be read.
        WeightsError: the checkpoint, or the weights to start from, are damaged.
        SamAdaptError: the loss is not finite; names the batch's frames.
    """
    if config.training.data:
        sets = [open_sets(config, role) for role in ("source", "target", "validation")]
        return train_sets(config, *sets, resume=resume, progress=progress, force=force)
    ranks = _start(config, force or resume)
    bags = (config.training.bags, config.training.validation_bags)
    source, held_out = (prepare_samples(read_frames(each, config), config) for each in bags)
    return _run(Trainer(config, source, held_out, ranks=ranks), resume, progress)


def train_sets(
    config: Config,
    source: Sequence[TrainingSet] = (),
    target: Sequence[TrainingSet] = (),
    validation: Sequence[TrainingSet] = (),
    *,
    resume: bool = False,
    progress: Progress = no_progress,
    force: bool = False,
) -> TrainingResult:
    """As ``train``, on these sets instead of those that the configuration names.

    source: learned from with xMUDA's class weights. target: from the branches' agreement, and from pseudo-labels where
    ``labelled``. validation: labelled.
    """
    ranks = _start(config, force or resume)
    learned, held_out, adapted_to = (_samples(sets, config) for sets in (source, validation, target))
    return _run(Trainer(config, learned, held_out, adapted_to, ranks), resume, progress)


def _start(config: Config, force: bool) -> Ranks:
    """The processes of the run, and a place for what they leave."""
    ranks = start_ranks(config.fabric, choose_device(config.training.device, "training.device"))
    if ranks.rank == 0:
        prepare_folder(Path(config.training.output), (CHECKPOINT, WEIGHTS, VALIDATION), force=force)
    else:
        logging.getLogger("sam_adapt_ros").setLevel(logging.ERROR)  # the first process speaks for all
    ranks.gather(None)
    return ranks


def _samples(sets: Sequence[TrainingSet], config: Config) -> FrameSamples:
    architecture = load_architecture(config.training.architecture)
    samples = FrameSamples(sets, architecture, seen_only=config.training.points == "seen")
    if config.training.samples == "memory":
        samples.load()
    return samples


def _run(trainer: Trainer, resume: bool, progress: Progress) -> TrainingResult:
    if resume:
        trainer.restore()
    return trainer.run(progress)


def read_frames(bags: Sequence[str], config: Config) -> Iterator[Frame]:
    """The frames of several bags or folders of bags, one bag after the other; one without ground truth is said. Raises
    BagError."""
    for bag in find_bags(bags):
        logger.info("reading %s", bag)
        frames = labelled = 0
        with BagReader(bag, config) as reader:
            for frame in reader.frames():
                frames += 1
                labelled += frame.ground_truth is not None and bool((frame.ground_truth != IGNORE).any())
                yield frame
        if not labelled:
            logger.warning("%s is passed over: no frame has labelled points on %s", bag, config.ground_truth.topic)
        elif labelled < frames:
            logger.info("%s: %d of %d frames have labelled points", bag, labelled, frames)


def prepare_samples(frames: Iterable[Frame], config: Config) -> list[Sample]:
    """Samples of the frames that have ground truth, projected and resized once for the whole run."""
    architecture = load_architecture(config.training.architecture)
    samples = [Sample.from_frame(frame, architecture) for frame in frames if frame.ground_truth is not None]
    if "intensity" in architecture.point_inputs and (lacking := sum(each.intensity is None for each in samples)):
        logger.warning(
            "%d of %d frames have no intensity, which architecture.point_inputs asks for: it counts as middling there",
            lacking,
            len(samples),
        )
    return [sample.only(sample.camera >= 0) for sample in samples] if config.training.points == "seen" else samples
