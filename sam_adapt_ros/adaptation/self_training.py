"""Self-training: a student network is trained on pseudo-labels as if they were true, resumable from any step.

The losses are those of supervised training (xMUDA: Jaritz et al., CVPR 2020, arXiv 1911.12676). The result is an
exponential moving average of the student's weights (Tarvainen and Valpola: Mean Teachers Are Better Role Models,
NeurIPS 2017, arXiv 1703.01780).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sam_adapt_ros.adaptation.batchnorm import batchnorm_layers, frozen_statistics
from sam_adapt_ros.config import SelfTrainingConfig
from sam_adapt_ros.io.store_errors import store_errors
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.logits import forward
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.training import checkpoint
from sam_adapt_ros.training.batch_stream import BatchStream, count_classes
from sam_adapt_ros.training.learning_rate import warm_up_cosine
from sam_adapt_ros.training.losses import xmuda_losses
from sam_adapt_ros.training.train_step import LossTerms, add_terms, train_step

Losses = dict[str, float]


class SelfTraining:
    """A student and its exponential moving average, trained step by step; every step is a function of the one before
    and the seed.

    BatchNorm statistics stay as they are: they were estimated on all frames, and a batch would only add noise.
    steps: in all. done: of them, so far. losses: the terms of the loss, by step.
    """

    def __init__(
        self,
        start: SegmentationNetwork,
        samples: Sequence[Sample],
        config: SelfTrainingConfig,
        source: Sequence[Sample] = (),
        source_share: float = 0.5,
    ) -> None:
        """
        Args:
            start: the network that student and average are copies of at first.
            samples: with the pseudo-labels as their ``labels``; those without any label are left out.
            source: labelled samples of the source domain, mixed into every batch.
            source_share: of the source in a batch, in frames as in the loss, below 1.
        """
        self.config = config
        self.networks = nn.ModuleDict({"student": copy.deepcopy(start), "average": copy.deepcopy(start)})
        self.student.requires_grad_(True)
        self.average.requires_grad_(False).eval()
        if config.parameters == "affine":
            self.student.requires_grad_(False)
            for _, layer in batchnorm_layers(self.student):
                layer.requires_grad_(True)
        trained = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, config.learning_rate, foreach=True)
        self.done = 0
        self.losses: list[Losses] = []
        labelled = [sample for sample in samples if sample.has_labels]
        epoch = len(labelled) / config.batch_size
        self.steps = min(config.steps, math.ceil(config.epochs * epoch))
        self._target = _LabelledBatches(start, labelled, config, config.batch_size, config.seed)
        self._source: _LabelledBatches | None = None
        self._source_share = source_share if source else 0.0
        if self._source_share:
            size = max(1, round(config.batch_size * source_share / (1 - source_share)))
            self._source = _LabelledBatches(start, source, config, size, config.seed + 1)

    @property
    def student(self) -> SegmentationNetwork:
        return self.networks["student"]  # type: ignore[return-value]

    @property
    def average(self) -> SegmentationNetwork:
        """The network whose weights are the exponential moving average of the student's."""
        return self.networks["average"]  # type: ignore[return-value]

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or there is no label to learn from."""
        return self.done >= self.steps

    def step(self) -> Losses:
        """Trains on one batch; returns the terms of the loss. Raises FloatingPointError when it is not finite."""
        rate = self.config.learning_rate * warm_up_cosine(self.done, self.steps)
        with frozen_statistics(self.student):
            self.losses.append(train_step(self.optimizer, rate, self.config.seed, self.done, self._loss))
        self.done += 1
        self._update_average()
        return self.losses[-1]

    def _loss(self) -> tuple[Tensor, LossTerms]:
        """The loss of the next batch of each domain, weighted by the domain's share, and its terms."""
        terms = self._target.losses(self.student, self.done)
        total = (1 - self._source_share) * add_terms(terms)
        if self._source is not None:
            of_source = self._source.losses(self.student, self.done)
            total = total + self._source_share * add_terms(of_source)
            terms |= {f"source_{name}": term for name, term in of_source.items()}
        return total, terms

    def save(self, path: Path) -> None:
        """Writes everything that ``load`` needs, atomically. Raises StoreError that names the file."""
        with store_errors(path):
            checkpoint.save(path, self.networks, self.optimizer, {"done": self.done, "losses": self.losses})

    def load(self, path: Path) -> None:
        """Goes on from the step at which ``save`` was called. Raises WeightsError that names the file."""
        counters = checkpoint.load(path, self.networks, self.optimizer)
        self.done, self.losses = int(counters["done"]), list(counters["losses"])

    @torch.no_grad()
    def _update_average(self) -> None:
        # A lower decay in the first steps, so that the start does not dominate the average of a short training.
        decay = min(self.config.ema_decay, self.done / (self.done + 9))
        for slow, fast in zip(self.average.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


class _LabelledBatches:
    """Batches of labelled samples, and a network's loss on them."""

    def __init__(
        self,
        network: SegmentationNetwork,
        samples: Sequence[Sample],
        config: SelfTrainingConfig,
        batch_size: int,
        seed: int,
    ) -> None:
        self.samples = samples
        self._lambda_xm = config.lambda_xm
        self._stream = BatchStream(samples, network.architecture, config.augmentation, batch_size, seed)
        self._weights = _class_weights(samples, network.classes, config.class_weight_exponent)

    def losses(self, network: SegmentationNetwork, step: int) -> dict[str, Tensor]:
        device = next(network.parameters()).device
        batch = self._stream.batch(step).to(device)
        weights = None if self._weights is None else self._weights.to(device)
        return xmuda_losses(forward(network, batch), batch, weights, self._lambda_xm)


def _class_weights(samples: Sequence[Sample], classes: int, exponent: float) -> Tensor | None:
    """(C,) weights of the cross entropy, (mean count / count) ** exponent within 1/5 and 5; None for exponent 0."""
    counts = count_classes(samples, classes).astype(np.float64)
    known = counts > 0
    if not exponent or not known.any():
        return None
    weights = np.ones(classes)
    weights[known] = np.clip((counts[known].mean() / counts[known]) ** exponent, 0.2, 5.0)
    weights /= (weights * counts).sum() / counts.sum()  # the loss keeps its scale
    return torch.tensor(weights, dtype=torch.float32)
