"""A training run: batches of the source, of the target or of both, through to the weights file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config, load_architecture
from sam_adapt_ros.errors import ConfigError, SamAdaptError
from sam_adapt_ros.io.atomic_write import remove_temporary
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.progress import Progress
from sam_adapt_ros.segmentation import networks
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Batch, Sample
from sam_adapt_ros.segmentation.device import choose_device, move
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.segmentation.temperature_scaling import LogitScales, scale_classifiers
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training import checkpoint
from sam_adapt_ros.training.batch_stream import BatchStream
from sam_adapt_ros.training.domain import Domain, weights_of_classes
from sam_adapt_ros.training.event_log import EventLog
from sam_adapt_ros.training.frame_samples import FrameSamples
from sam_adapt_ros.training.initial_network import InitialNetwork
from sam_adapt_ros.training.learning_rate import milestones, one_cycle
from sam_adapt_ros.training.loader import map_ahead
from sam_adapt_ros.training.ranks import Ranks
from sam_adapt_ros.training.train_step import LossTerms, add_terms, parameter_groups, train_step
from sam_adapt_ros.training.validation import validate

logger = logging.getLogger(__name__)

CHECKPOINT, WEIGHTS, VALIDATION = "checkpoint.safetensors", "weights.safetensors", "validation.json"
"""What a run leaves in its folder, besides TensorBoard's event files."""
LOG_EVERY = 20
"""Iterations from one line of losses in the log to the next."""
_FREE_ON_RESUME = {"output", "workers", "device", "checkpoint_every", "samples"}  # settings without a say in the result


@dataclass(frozen=True)
class TrainingResult:
    """weights: the file written. version: of these weights. validation: mean IoU by branch, at each checkpoint."""

    weights: Path
    version: str
    validation: list[dict[str, float]]


class Trainer:
    """One training run: the network, its optimizer, and how far the run is.

    iteration: how many are done. validation: mean IoU by branch, with the iteration, of every checkpoint so far.
    """

    def __init__(
        self,
        config: Config,
        source: Sequence[Sample],
        held_out: Sequence[Sample],
        target: Sequence[Sample] = (),
        ranks: Ranks | None = None,
    ) -> None:
        """
        Args:
            source, target: samples to learn from; at least one of them has some, and labels.
            held_out: samples to validate by; none: every checkpoint replaces the weights.
            ranks: the processes of the run; None: this one, on ``training.device``.
        Raises:
            ConfigError: there is nothing labelled to learn from, or to validate by although some is named.
            WeightsError: the weights to start from are damaged or do not fit.
        """
        self.config = config.training
        self.taxonomy = Taxonomy.load(config.taxonomy)
        self.fusion = FUSIONS[config.segmenter.fusion]
        self.source, self.target, self.held_out = source, target, held_out
        self.output = Path(self.config.output)
        self.iteration = 0
        self.validation: list[dict[str, float]] = []
        self.ranks = ranks or Ranks(choose_device(self.config.device, "training.device"))
        self.device = self.ranks.device
        if self.config.batch_size % self.ranks.size:
            raise ConfigError(
                f"training.batch_size: a multiple of the {self.ranks.size} processes expected, "
                f"got {self.config.batch_size}"
            )
        weights = self._weights_of_classes()
        self._check_held_out()
        architecture = load_architecture(self.config.architecture)
        torch.manual_seed(self.config.seed)
        initial = InitialNetwork.build(self.config, self.taxonomy, architecture)
        self.network, self._initial = initial.network, initial.weights
        move(self.network, self.device, "training.device")
        networks.configure(self.network, config.segmenter, self.device)
        groups = parameter_groups(self.network, initial.pretrained, self.config.encoder_rate)
        self.optimizer = torch.optim.Adam(groups, self.config.learning_rate, foreach=True)
        weights = None if weights is None else weights.to(self.device)
        parts = (("", source, weights), ("target_", target, None))
        self.domains = [
            Domain(name, samples, architecture, self.config, self.ranks, own) for name, samples, own in parts if samples
        ]
        self._on_disk = any(domain.on_disk for domain in self.domains)
        self._settings = {
            **self.config.model_dump(exclude=_FREE_ON_RESUME, mode="json"),
            "fabric.precision": config.fabric.precision,
            "frames": [len(source), len(target)],
        }
        self._checkpoint = self.output / CHECKPOINT

    def restore(self) -> None:
        """Goes on from the last checkpoint, where there is one; removes what a kill left half-written.

        Raises ConfigError for other settings, WeightsError, OSError.
        """
        if self.ranks.rank == 0:
            remove_temporary(self.output.glob(".*"))
        if self._checkpoint.exists():
            counters = checkpoint.load(self._checkpoint, self.network, self.optimizer)
            checkpoint.check_settings(self._checkpoint, counters["settings"], self._settings)
            self.iteration, self.validation = counters["iteration"], counters["validation"]
            self.ranks.restore(counters["ranks"])

    def run(self, progress: Progress) -> TrainingResult:
        """Trains to the last iteration, with a checkpoint (and validation) every ``checkpoint_every``."""
        config, first = self.config, self.ranks.rank == 0
        if first:
            frames = len(self.source) + len(self.target)
            logger.info("training on %d frames, %d for validation, %s", frames, len(self.held_out), self.device)
        self._forward, self._stepping = self.ranks.setup(self.network, self.optimizer)
        remaining = range(self.iteration, config.iterations)
        start = time.monotonic()
        with EventLog(self.output if first else None, self.iteration) as events:
            build = partial(_build, [domain.stream for domain in self.domains])
            for batches in map_ahead(build, remaining, config.workers, processes=self._on_disk):
                losses = self._step([batch.to(self.device) for batch in batches])
                save = self.iteration == config.iterations or self.iteration % config.checkpoint_every == 0
                if first:
                    progress(self.iteration, config.iterations)
                    if save or self.iteration % LOG_EVERY == 0:
                        self._log(losses, (time.monotonic() - start) / (self.iteration - remaining.start), events)
                if save:
                    self._save(events)
        path = self.output / WEIGHTS
        return TrainingResult(path, weights_files.load(path).version, self.validation)

    def _weights_of_classes(self) -> Tensor | None:
        """(C,) of the source. Raises ConfigError when no labelled point is there to learn from."""
        config = self.config
        if self.source:
            weights, counts = weights_of_classes(self.source, len(self.taxonomy), self.ranks, config.workers)
            if counts.any():
                return weights
        elif any(sample.has_labels for sample in self.target):
            return None
        given = [*config.bags, *(name for name, each in config.data.items() if each.role != "validation")]
        raise ConfigError(f"training.bags, training.data: labelled points expected, {given} have none")

    def _check_held_out(self) -> None:
        config = self.config
        given = [*config.validation_bags, *(name for name, each in config.data.items() if each.role == "validation")]
        if (given or self.held_out) and not any(sample.has_labels for sample in self.held_out):
            raise ConfigError(
                f"training.validation_bags: labelled points expected, {given} have none with a class of "
                f"{self.taxonomy.name} (ground_truth.topic, ground_truth.mapping)"
            )

    def _step(self, batches: Sequence[Batch]) -> dict[str, float]:
        config, step = self.config, self.iteration
        rate = config.learning_rate * self._schedule(step, config.iterations)
        passes = [
            partial(self._loss, domain, batch)
            for domain, batch in zip(self.domains, batches, strict=True)
            if self._is_whole(batch)
        ]
        if not passes:
            self.iteration += 1
            return {}
        self.network.train()
        try:
            losses = train_step(self._stepping, rate, config.seed, step, *passes, ranks=self.ranks)
        except FloatingPointError as error:
            names = self.ranks.gather([name for batch in batches for name in batch.names])
            raise SamAdaptError(
                f"training: {error}; lower training.learning_rate, or look at the frames that it is of, "
                f"{', '.join(name for part in names for name in part)}; --resume, or the same benchmark again, goes on "
                "from the last checkpoint"
            ) from None
        if not losses:
            raise ConfigError("training: nothing can be learned: no labels, and no branch that imitates another one")
        self.iteration += 1
        return losses

    def _loss(self, domain: Domain, batch: Batch) -> tuple[Tensor, LossTerms]:
        terms = domain.losses(self._forward(batch), batch)
        return add_terms(terms), terms

    def _is_whole(self, batch: Batch) -> bool:
        """Whether all processes have something for each branch in their part of a batch, or none has: a process that
        leaves a branch out does not take part in its BatchNorm layers, on which the others would wait for ever."""
        parts = self.ranks.gather((len(batch.seen) > 0, len(batch.voxels) > 0)) if self.ranks.size > 1 else []
        if len(set(parts)) < 2:
            return True
        logger.warning("iteration %d leaves a batch out: no camera sees a point of %s", self.iteration, batch.names)
        return False

    def _log(self, losses: Mapping[str, float], seconds: float, events: EventLog) -> None:
        """seconds: an iteration has taken."""
        config, done = self.config, self.iteration
        remaining = timedelta(seconds=round(seconds * (config.iterations - done)))
        frames = config.batch_size * len(self.domains) / seconds
        text = "iteration %d of %d: %s (%.1f frames/s, %s remaining)"
        logger.info(text, done, config.iterations, _format(losses), frames, remaining)
        rate = config.learning_rate * self._schedule(done - 1, config.iterations)
        events.add("loss", losses, done)
        events.add("training", {"learning_rate": rate, "frames_per_second": frames}, done)

    def _schedule(self, step: int, steps: int) -> float:
        if self.config.schedule == "milestones":
            return milestones(step, steps, self.config.milestones)
        return one_cycle(step, steps)

    def _save(self, events: EventLog) -> None:
        """Validates the network, writes its weights if they are the best so far, and the checkpoint."""
        scales, best, first = LogitScales(), True, self.ranks.rank == 0
        if self.held_out:
            on_disk = isinstance(self.held_out, FrameSamples) and not self.held_out.in_memory
            found = validate(
                self.network,
                self.held_out,
                self.fusion,
                self.ranks,
                self.config.workers if on_disk else 0,
                self.config.temperature_scaling,
            )
            scales = found.scales
            best = not any(earlier[Branch.FUSED] > found.miou[Branch.FUSED] for earlier in self.validation)
            self.validation.append({"iteration": float(self.iteration), **found.miou})
            if first:
                logger.info("validation at iteration %d: mean IoU %s", self.iteration, _format(found.miou))
                events.add("mean_iou", found.miou, self.iteration)
        if first:
            if best:
                self._save_weights(scales)
            counters = {
                "settings": self._settings,
                "iteration": self.iteration,
                "validation": self.validation,
                "ranks": self.ranks.state(),
            }
            checkpoint.save(self._checkpoint, self.network, self.optimizer, counters)
            write_text(self.output / VALIDATION, json.dumps(self.validation, indent=1))
            events.flush()
        self.ranks.gather(None)  # no process reads the files before they are there

    def _save_weights(self, scales: LogitScales) -> None:
        entry = {
            "step": "train",
            "frames": len(self.source) + len(self.target),
            "iterations": self.iteration,
            "validation": self.validation[-1] if self.validation else None,
            "scales": scales._asdict(),
            "training": self._settings,
        }
        state = scale_classifiers(self.network.state_dict(), scales, self.network.classifiers)
        taxonomy, architecture, initial = self.taxonomy, self.network.architecture, self._initial
        history, parent = (initial.history, initial.version) if initial else ((), "")
        weights = Weights(
            state, taxonomy.name, taxonomy.classes, architecture, history=(*history, entry), parent=parent
        )
        weights_files.save(self.output / WEIGHTS, weights, half=True)


def _build(streams: Sequence[BatchStream], iteration: int) -> list[Batch]:
    """The next batch of each domain."""
    return [stream.batch(iteration) for stream in streams]


def _format(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
