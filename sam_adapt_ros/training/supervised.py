"""Supervised training on labelled frames of the source domain, with xMUDA's losses."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.bags.clips import find_bags
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config, load_architecture
from sam_adapt_ros.errors import ConfigError, SamAdaptError
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.io.outputs import prepare_folder, write_text
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Batch, Sample
from sam_adapt_ros.segmentation.device import choose_device
from sam_adapt_ros.segmentation.encoder_weights import load_encoder_weights
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.segmentation.image_branch import ImageBranch
from sam_adapt_ros.segmentation.logits import forward
from sam_adapt_ros.segmentation.networks import build
from sam_adapt_ros.segmentation.temperature_scaling import LogitScales, scale_classifiers
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training import checkpoint
from sam_adapt_ros.training.batch_stream import BatchStream, count_classes
from sam_adapt_ros.training.learning_rate import SCHEDULES
from sam_adapt_ros.training.losses import class_weights, xmuda_losses
from sam_adapt_ros.training.train_step import LossTerms, add_terms, parameter_groups, train_step
from sam_adapt_ros.training.validation import validate

logger = logging.getLogger(__name__)

CHECKPOINT, WEIGHTS, VALIDATION = "checkpoint.safetensors", "weights.safetensors", "validation.json"
"""What a run leaves in its folder."""
LOG_EVERY = 20
"""Iterations from one line of losses in the log to the next."""
_FREE_ON_RESUME = {"output", "workers", "device", "checkpoint_every"}  # settings that do not change the result


@dataclass(frozen=True)
class TrainingResult:
    """weights: the file written. version: of these weights. validation: mean IoU by branch, at each checkpoint."""

    weights: Path
    version: str
    validation: list[dict[str, float]]


def train(
    config: Config,
    resume: bool = False,
    progress: Progress = no_progress,
    *,
    force: bool = False,
) -> TrainingResult:
    """Trains a network by ``config.training`` and writes ``<output>/weights.safetensors``.

    With validation bags that file holds the checkpoint whose fused mean IoU is best, else the last.

    Args:
        resume: go on from ``<output>/checkpoint.safetensors`` where there is one; the result is that of an unbroken
            run.
        progress: called with the iterations done and their number.
        force: replace what an earlier run left.
    Raises:
        OutputError: the output cannot be written, or has an earlier run's files.
        ConfigError: there is nothing to learn from, or the run that is resumed had other settings.
        BagError: a bag cannot be read.
        WeightsError: the checkpoint is damaged.
        SamAdaptError: the loss is not finite.
    """
    prepare_folder(Path(config.training.output), (CHECKPOINT, WEIGHTS, VALIDATION), force=force or resume)
    bags = (config.training.bags, config.training.validation_bags)
    trainer = Trainer(config, *(prepare_samples(read_frames(each, config), config) for each in bags))
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


class Trainer:
    """One training run: the network, its optimizer, and how far the run is.

    iteration: how many are done. validation: mean IoU by branch, with the iteration, of every checkpoint so far.
    """

    def __init__(self, config: Config, samples: Sequence[Sample], held_out: Sequence[Sample]) -> None:
        """held_out: samples to validate by; none: every checkpoint replaces the weights.

        Raises ConfigError when there is nothing labelled to learn from, or to validate by although bags are named.
        """
        self.config = config.training
        self.taxonomy = Taxonomy.load(config.taxonomy)
        self.fusion = FUSIONS[config.segmenter.fusion]
        self.samples, self.held_out = samples, held_out
        self.output = Path(self.config.output)
        self.iteration = 0
        self.validation: list[dict[str, float]] = []
        counts = count_classes(samples, len(self.taxonomy))
        if not counts.any():
            raise ConfigError(f"training.bags: labelled points expected, {self.config.bags} have none")
        if self.config.validation_bags and not any(sample.has_labels for sample in held_out):
            given = self.config.validation_bags
            raise ConfigError(
                f"training.validation_bags: labelled points expected, {given} have none with a class of "
                f"{self.taxonomy.name} (ground_truth.topic, ground_truth.mapping)"
            )
        architecture = load_architecture(self.config.architecture)
        self.device = choose_device(self.config.device, "training.device")
        torch.manual_seed(self.config.seed)
        self.network = build(len(self.taxonomy), architecture)
        pretrained = self._load_encoder()
        self.network.to(self.device).configure(config.segmenter, self.device)
        self.optimizer = torch.optim.Adam(
            parameter_groups(self.network, pretrained), self.config.learning_rate, foreach=True
        )
        self._class_weights = class_weights(counts).to(self.device)
        self._stream = BatchStream(
            samples, architecture, self.config.augmentation, self.config.batch_size, self.config.seed
        )
        self._settings = self.config.model_dump(exclude=_FREE_ON_RESUME, mode="json")
        self._checkpoint = self.output / CHECKPOINT

    def _load_encoder(self) -> list[Tensor]:
        """Loads the image encoder's first weights, where some are configured; returns its parameters, else none."""
        image = getattr(self.network, "image", None)
        if not self.config.encoder_weights:
            logger.warning("training starts from random weights: training.encoder_weights names none for the encoder")
            return []
        if not isinstance(image, ImageBranch):
            raise ConfigError("training.encoder_weights: the network has no image branch of the package's")
        load_encoder_weights(image, self.network.architecture.encoder, self.config.encoder_weights)
        return list(image.encoder.parameters())

    def restore(self) -> None:
        """Goes on from the last checkpoint, where there is one. Raises ConfigError for other settings, WeightsError."""
        if self._checkpoint.exists():
            counters = checkpoint.load(self._checkpoint, self.network, self.optimizer)
            checkpoint.check_settings(self._checkpoint, counters["settings"], self._settings)
            self.iteration, self.validation = counters["iteration"], counters["validation"]

    def run(self, progress: Progress) -> TrainingResult:
        """Trains to the last iteration, with a checkpoint (and validation) every ``checkpoint_every``."""
        config, frames = self.config, len(self.samples)
        logger.info("training on %d frames, %d for validation, %s", frames, len(self.held_out), self.device)
        for batch in self._stream.iterate(self.iteration, config.iterations, config.workers):
            losses = self._step(batch.to(self.device))
            progress(self.iteration, config.iterations)
            save = self.iteration == config.iterations or self.iteration % config.checkpoint_every == 0
            if save or self.iteration % LOG_EVERY == 0:
                logger.info("iteration %d of %d: %s", self.iteration, config.iterations, _format(losses))
            if save:
                self._save()
        path = self.output / WEIGHTS
        return TrainingResult(path, weights_files.load(path).version, self.validation)

    def _step(self, batch: Batch) -> dict[str, float]:
        config, step = self.config, self.iteration
        rate = config.learning_rate * SCHEDULES[config.schedule](step, config.iterations)

        def compute_loss() -> tuple[Tensor, LossTerms]:
            terms = xmuda_losses(forward(self.network, batch), batch, self._class_weights, config.lambda_xm)
            return add_terms(terms), terms

        self.network.train()
        try:
            losses = train_step(self.optimizer, rate, config.seed, step, compute_loss)
        except FloatingPointError as error:
            raise SamAdaptError(f"training: {error}; lower training.learning_rate") from None
        self.iteration += 1
        return losses

    def _save(self) -> None:
        """Validates the network, writes its weights if they are the best so far, and the checkpoint."""
        scales, best = LogitScales(), True
        if self.held_out:
            found = validate(self.network, self.held_out, self.fusion)
            scales = found.scales
            best = not any(earlier[Branch.FUSED] > found.miou[Branch.FUSED] for earlier in self.validation)
            self.validation.append({"iteration": float(self.iteration), **found.miou})
            logger.info("validation at iteration %d: mean IoU %s", self.iteration, _format(found.miou))
        if best:
            self._save_weights(scales)
        counters = {"settings": self._settings, "iteration": self.iteration, "validation": self.validation}
        checkpoint.save(self._checkpoint, self.network, self.optimizer, counters)
        write_text(self.output / VALIDATION, json.dumps(self.validation, indent=1))

    def _save_weights(self, scales: LogitScales) -> None:
        entry = {
            "step": "train",
            "frames": len(self.samples),
            "iterations": self.iteration,
            "validation": self.validation[-1] if self.validation else None,
            "scales": scales._asdict(),
            "training": self._settings,
        }
        state = scale_classifiers(self.network.state_dict(), scales, self.network.classifiers)
        taxonomy, architecture = self.taxonomy, self.network.architecture
        weights = Weights(state, taxonomy.name, taxonomy.classes, architecture, history=(entry,))
        weights_files.save(self.output / WEIGHTS, weights, half=True)


def _format(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
