"""Supervised training on source data, xMUDA's way: cross entropy for each branch, and each imitates the other."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config, TrainingConfig
from sam_adapt_ros.errors import ConfigError, SamAdaptError
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.architecture import load_architecture
from sam_adapt_ros.segmentation.batch import Batch, Sample
from sam_adapt_ros.segmentation.device import choose_device
from sam_adapt_ros.segmentation.fusion import FUSIONS, Fusion, fuse
from sam_adapt_ros.segmentation.logits import BranchLogits, compute_logits
from sam_adapt_ros.segmentation.network import Network, NetworkOutput
from sam_adapt_ros.segmentation.temperature_scaling import LogitScales, fit_scales, scale_classifiers, scale_logits
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training import checkpoint, losses
from sam_adapt_ros.training.batch_stream import BatchStream, count_classes

logger = logging.getLogger(__name__)

MILESTONES = (0.8, 0.9)  # shares of the iterations at which the learning rate falls, as in xMUDA
_FREE_ON_RESUME = {"output", "workers", "device", "checkpoint_every"}  # settings that do not change the result


@dataclass(frozen=True)
class TrainingResult:
    """weights: the file written. version: of these weights. validation: mean IoU by modality, at each checkpoint."""

    weights: Path
    version: str
    validation: list[dict[str, float]]


def train(
    config: Config,
    resume: bool = False,
    progress: Progress = no_progress,
    frames: Iterable[Frame] | None = None,
    validation: Iterable[Frame] | None = None,
) -> TrainingResult:
    """Trains a network as ``config.training`` says and writes ``<output>/weights.safetensors``.

    With validation frames that file holds the checkpoint whose fused mean IoU is best, else the last.
    resume: go on from ``<output>/checkpoint.safetensors`` where there is one; the result is that of an unbroken run.
    progress: called with the iterations done and their number.
    frames, validation: in place of the frames of ``training.bags`` and ``training.validation_bags``.
    Raises ConfigError when there is nothing to learn from, BagError for bags that cannot be read.
    """
    trainer = Trainer(config)
    samples = trainer.prepare(frames if frames is not None else read_frames(config.training.bags, config))
    held_out = trainer.prepare(
        validation if validation is not None else read_frames(config.training.validation_bags, config)
    )
    return trainer.run(samples, held_out, resume, progress)


def read_frames(bags: Sequence[str], config: Config) -> Iterator[Frame]:
    """The frames of several bags, one bag after the other."""
    from sam_adapt_ros.bags.reader import BagReader

    for bag in bags:
        with BagReader(bag, config) as reader:
            yield from reader.frames()


@dataclass
class _State:
    iteration: int = 0
    best: float = -1.0
    validation: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """One training run. ``prepare`` makes samples of frames, ``run`` trains on them."""

    def __init__(self, config: Config) -> None:
        self.config = config.training
        self.taxonomy = Taxonomy.load(config.taxonomy)
        self.architecture = load_architecture(self.config.architecture)
        self.fusion = FUSIONS[config.segmenter.fusion]
        self.device = choose_device(self.config.device)
        self.output = Path(self.config.output)

    def prepare(self, frames: Iterable[Frame]) -> list[Sample]:
        """Samples of the frames that have ground truth; decoded and resized once for the whole run."""
        samples = [Sample.from_frame(frame, self.architecture) for frame in frames if frame.ground_truth is not None]
        return [sample.only(sample.camera >= 0) for sample in samples] if self.config.points == "seen" else samples

    def run(
        self, samples: Sequence[Sample], held_out: Sequence[Sample], resume: bool, progress: Progress
    ) -> TrainingResult:
        """Trains to the last iteration, with a checkpoint (and validation) every ``checkpoint_every``."""
        config = self.config
        counts = count_classes(samples, len(self.taxonomy))
        if not counts.any():
            raise ConfigError(f"training.bags: frames with ground truth expected, {config.bags} have none")
        torch.manual_seed(config.seed)
        network = Network(len(self.taxonomy), self.architecture).to(self.device)
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, foreach=True)
        settings = config.model_dump(exclude=_FREE_ON_RESUME, mode="json")
        state = self._restore(network, optimizer, settings) if resume else _State()
        weights = losses.class_weights(counts).to(self.device)
        stream = BatchStream(samples, self.architecture, config.augmentation, config.batch_size, config.seed)
        logger.info("training on %d frames, %d for validation, %s", len(samples), len(held_out), self.device)
        for batch in stream.iterate(state.iteration, config.iterations, config.workers):
            values = self._step(network, optimizer, batch.to(self.device), weights, state.iteration)
            state.iteration += 1
            progress(state.iteration, config.iterations)
            last = state.iteration == config.iterations
            if last or state.iteration % config.checkpoint_every == 0:
                logger.info("iteration %d: %s", state.iteration, _format(values))
                self._checkpoint(network, optimizer, state, settings, held_out, len(samples))
        path = self.output / "weights.safetensors"
        return TrainingResult(path, weights_files.load(path).version, state.validation)

    def _step(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
        weights: Tensor | None,
        iteration: int,
    ) -> dict[str, float]:
        network.train()
        torch.manual_seed(hash_seed(self.config.seed, iteration))  # dropout repeats after a resume
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.config, iteration)
        optimizer.zero_grad(set_to_none=True)
        terms = supervised_losses(network(batch), batch, weights, self.config.lambda_xm)
        total = torch.stack(list(terms.values())).sum()
        if not bool(torch.isfinite(total)):
            raise SamAdaptError(f"training: iteration {iteration}: the loss is not finite; lower learning_rate")
        total.backward()
        optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()}

    def _checkpoint(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        state: _State,
        settings: dict[str, Any],
        held_out: Sequence[Sample],
        frames: int,
    ) -> None:
        better, trained, scales = True, network.state_dict(), LogitScales()
        if held_out:
            logits = compute_logits(network, held_out)
            scales = fit_scales(logits, [_labels(sample) for sample in held_out])
            scores = {
                "iteration": float(state.iteration),
                **validate(logits, scales, held_out, self.fusion, network.classes),
            }
            state.validation.append(scores)
            logger.info("validation: %s", _format(scores))
            better = scores[Branch.FUSED] >= state.best
            state.best = max(state.best, scores[Branch.FUSED])
        if better:
            entry = {
                "step": "train",
                "frames": frames,
                "iterations": state.iteration,
                "validation": state.validation[-1] if held_out else None,
                "scales": scales._asdict(),
                "training": settings,
            }
            weights_files.save(
                self.output / "weights.safetensors",
                Weights(
                    scale_classifiers(trained, scales),
                    self.taxonomy.name,
                    self.taxonomy.classes,
                    self.architecture,
                    history=(entry,),
                ),
                half=True,
            )
        counters = {"settings": settings, "state": vars(state)}
        checkpoint.save(self.output / "checkpoint.safetensors", network, optimizer, counters)
        (self.output / "validation.json").write_text(json.dumps(state.validation, indent=1), encoding="utf-8")

    def _restore(self, network: Network, optimizer: torch.optim.Optimizer, settings: dict[str, Any]) -> _State:
        path = self.output / "checkpoint.safetensors"
        if not path.exists():
            return _State()
        counters = checkpoint.load(path, network, optimizer)
        checkpoint.check_settings(path, counters["settings"], settings)
        return _State(**counters["state"])


def supervised_losses(
    output: NetworkOutput, batch: Batch, weights: Tensor | None, lambda_xm: float
) -> dict[str, Tensor]:
    """Cross entropy of both branches' own heads, KL divergence of both imitating heads (over the seen points)."""
    if batch.labels is None:
        raise ValueError("batch.labels: labels expected")
    points_seen = output.points.rows(batch.seen)
    return {
        "ce_2d": losses.cross_entropy(output.image.logits, batch.labels[batch.seen], weights),
        "ce_3d": losses.cross_entropy(output.points.logits, batch.labels, weights),
        "xm_2d": lambda_xm * losses.imitation(output.image.imitation, points_seen.logits),
        "xm_3d": lambda_xm * losses.imitation(points_seen.imitation, output.image.logits),
    }


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """Of an iteration: ``milestones``, x0.1 at each of MILESTONES, or ``one_cycle``, up over 30 %, down by cosines."""
    share = iteration / config.iterations
    if config.schedule == "milestones":
        return config.learning_rate * 0.1 ** sum(share >= milestone for milestone in MILESTONES)
    rise, low, end = 0.3, 0.04, 1e-3
    if share < rise:
        start, stop, part = low, 1.0, share / rise
    else:
        start, stop, part = 1.0, end, (share - rise) / (1 - rise)
    return config.learning_rate * (stop + (start - stop) * (1 + math.cos(math.pi * part)) / 2)


def validate(
    logits: Sequence[BranchLogits], scales: LogitScales, samples: Sequence[Sample], fusion: Fusion, classes: int
) -> dict[str, float]:
    """Mean IoU by modality: ``2d`` over the points that a camera sees, ``3d`` and ``fused`` over all.

    logits: by sample; scales: what the logits are multiplied by.
    """
    counts = {branch: Confusion(classes) for branch in Branch}
    for frame, sample in zip(logits, samples, strict=True):
        labels = _labels(sample)
        fused = fuse(fusion, scale_logits(frame, scales))
        counts[Branch.IMAGE].add(labels[frame.seen.numpy()], frame.image.argmax(1).numpy())
        counts[Branch.POINTS].add(labels, frame.points.argmax(1).numpy())
        counts[Branch.FUSED].add(labels, fused.argmax(1).numpy())
    return {branch: confusion.miou() for branch, confusion in counts.items()}


def _labels(sample: Sample) -> NDArray[np.uint8]:
    assert sample.labels is not None, "samples to train on and to validate by have ground truth"
    return sample.labels


def hash_seed(*parts: int) -> int:
    """One 63-bit seed of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _format(values: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {value:.3f}" if name != "iteration" else f"at {value:.0f}" for name, value in values.items()
    )
