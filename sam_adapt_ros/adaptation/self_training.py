"""Self-training of a student on pseudo-labels, resumable from any step."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sam_adapt_ros.adaptation.batchnorm import frozen_statistics, layers
from sam_adapt_ros.config import SelfTrainingConfig
from sam_adapt_ros.io.store_errors import store_errors
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.training import checkpoint
from sam_adapt_ros.training.batch_stream import BatchStream, count_classes
from sam_adapt_ros.training.supervised import hash_seed, supervised_losses

WARM_UP = 0.1
"""Share of the steps over which the learning rate rises."""

Losses = dict[str, float]


class SelfTraining:
    """A student and its slow average, trained step by step: any step follows from the one before and the seed.

    samples: their ``labels`` are the pseudo-labels, 255 where there is none; ``relabel`` replaces them between steps.
    source: labelled samples of the source domain, of which each batch gets so many more that they are ``source_share``
    of it, in frames as in the loss.
    Statistics of normalization stay as they are: they were estimated on all frames, a batch would only add noise.
    """

    def __init__(
        self,
        start: Network,
        samples: Sequence[Sample],
        config: SelfTrainingConfig,
        source: Sequence[Sample] = (),
        source_share: float = 0.5,
    ) -> None:
        self.config = config
        self.networks = nn.ModuleDict({"student": copy.deepcopy(start), "average": copy.deepcopy(start)})
        self.student.requires_grad_(True)
        self.average.requires_grad_(False).eval()
        if config.parameters == "affine":
            self.student.requires_grad_(False)
            for _, layer in layers(self.student):
                layer.requires_grad_(True)
        trained = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, config.learning_rate, foreach=True)
        self.done = 0
        self.losses: list[Losses] = []
        self._source: _Labelled | None = None
        self._source_share = source_share if source else 0.0
        if self._source_share:
            size = max(1, round(config.batch_size * source_share / (1 - source_share)))
            self._source = _Labelled(start, source, config, size, config.seed + 1)
        self.relabel(samples)

    @property
    def student(self) -> Network:
        return self.networks["student"]  # type: ignore[return-value]

    @property
    def average(self) -> Network:
        """The exponential moving average of the student's weights: the EMA teacher, and the steadier result."""
        return self.networks["average"]  # type: ignore[return-value]

    @property
    def finished(self) -> bool:
        return self.done >= self.config.steps or not self._target.samples

    def relabel(self, samples: Sequence[Sample]) -> None:
        """Goes on with other pseudo-labels."""
        kept = [sample for sample in samples if sample.labels is not None and (sample.labels != 255).any()]
        self._target = _Labelled(self.student, kept, self.config, self.config.batch_size, self.config.seed)

    def step(self) -> Losses:
        """One batch. Raises FloatingPointError when the loss is not finite."""
        config = self.config
        torch.manual_seed(hash_seed(config.seed, self.done))  # dropout repeats after a resume
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(self.done, config.steps)
        with frozen_statistics(self.student):
            self.optimizer.zero_grad(set_to_none=True)
            terms = self._target.losses(self.student, self.done)
            total = (1 - self._source_share) * torch.stack(list(terms.values())).sum()
            if self._source is not None:
                of_source = self._source.losses(self.student, self.done)
                total = total + self._source_share * torch.stack(list(of_source.values())).sum()
                terms |= {f"source_{name}": term for name, term in of_source.items()}
            if not bool(torch.isfinite(total)):
                raise FloatingPointError(f"self-training: step {self.done}: the loss is not finite")
            total.backward()
            self.optimizer.step()
        self.done += 1
        self._update_average()
        self.losses.append({name: float(term.detach()) for name, term in terms.items()})
        return self.losses[-1]

    def save(self, path: Path) -> None:
        """Writes everything that ``load`` needs; replaced at once. Raises StoreError that names the file."""
        with store_errors(path):
            checkpoint.save(path, self.networks, self.optimizer, {"done": self.done, "losses": self.losses})

    def load(self, path: Path) -> None:
        """Goes on where ``save`` was called. Raises WeightsError that names the file."""
        counters = checkpoint.load(path, self.networks, self.optimizer)
        self.done, self.losses = int(counters["done"]), list(counters["losses"])

    @torch.no_grad()
    def _update_average(self) -> None:
        # As in the first steps of a running mean, so that a short training is not all about its start.
        decay = min(self.config.ema_decay, self.done / (self.done + 9))
        for slow, fast in zip(self.average.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


class _Labelled:
    """Samples, and what a network loses on any batch of them."""

    def __init__(
        self, network: Network, samples: Sequence[Sample], config: SelfTrainingConfig, batch_size: int, seed: int
    ) -> None:
        self.samples = samples
        self._lambda_xm = config.lambda_xm
        self._stream = BatchStream(samples, network.architecture, config.augmentation, batch_size, seed)
        self._weights = _balance(samples, network.classes, config.class_weight_exponent)

    def losses(self, network: Network, step: int) -> dict[str, Tensor]:
        device = next(network.parameters()).device
        batch = self._stream.batch(step).to(device)
        weights = None if self._weights is None else self._weights.to(device)
        return supervised_losses(network(batch), batch, weights, self._lambda_xm)


def _schedule(step: int, steps: int) -> float:
    """Up over the ``WARM_UP`` share of the steps, then down by a cosine to a twentieth."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def _balance(samples: Sequence[Sample], classes: int, power: float) -> Tensor | None:
    """(C,) weights by class, (mean count / count) ** power, at most 5; None for power 0."""
    if not power:
        return None
    counts = count_classes(samples, classes).astype(np.float64)
    known = counts > 0
    if not known.any():
        return None
    weights = np.ones(classes)
    weights[known] = np.clip((counts[known].mean() / counts[known]) ** power, 0.2, 5.0)
    weights /= (weights * counts).sum() / max(counts.sum(), 1)  # the loss keeps its scale
    return torch.tensor(weights, dtype=torch.float32)
