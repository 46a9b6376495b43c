"""BatchNorm statistics re-estimated on unlabelled frames of the new domain, without training.

Replacing the statistics of the source domain by those of the target domain is AdaBN (Li et al.: Revisiting Batch
Normalization for Practical Domain Adaptation, arXiv 1603.04779, 2016; at prediction time: Nado et al.: Evaluating
Prediction-Time Batch Normalization for Robustness under Covariate Shift, arXiv 2006.10963, 2020). Weighting the two
domains is due to Schneider et al. (Improving Robustness against Common Corruptions by Covariate Shift Adaptation,
NeurIPS 2020); here each branch has a weight of its own.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import BatchNormConfig
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate
from sam_adapt_ros.segmentation.logits import forward
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork, State

BATCH_SIZE = 4
"""Frames at a time, to bound memory; statistics are pooled over all of them."""


@dataclass
class Moments:
    """Mean and variance of a layer's inputs by channel, (F,) float64 each, pooled over ``count`` values."""

    count: int
    mean: Tensor
    variance: Tensor  # biased: the mean squared deviation of the values

    @classmethod
    def of(cls, inputs: Tensor) -> Moments:
        """Of a layer's inputs, (N, F) or (N, F, ...), not empty."""
        values = inputs.detach().transpose(0, 1).flatten(1).double()
        return cls(values.shape[1], values.mean(1), values.var(1, unbiased=False))

    def pooled(self, other: Moments) -> Moments:
        """Of the values of both (Chan, Golub, LeVeque: Updating Formulae for Computing Sample Variances, 1979)."""
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        mean = self.mean + share * apart
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * apart.square()
        return Moments(count, mean, variance)


@torch.no_grad()
def measure_moments(network: SegmentationNetwork, batches: Iterable[Batch]) -> dict[str, Moments]:
    """The moments of the inputs of each BatchNorm layer, by its name, over all batches.

    As in training, a layer normalizes by the statistics of its own batch, so that the layers above it get the inputs
    that they will get after re-estimation. The network is left as it was; layers without inputs are left out.
    """
    moments: dict[str, Moments] = {}

    def pool(name: str, inputs: Tensor) -> None:
        if len(inputs):
            found = Moments.of(inputs)
            moments[name] = moments[name].pooled(found) if name in moments else found

    network = copy.deepcopy(network).eval()
    device = next(network.parameters()).device
    for name, layer in batchnorm_layers(network):
        layer.train()
        layer.momentum = 0.0
        layer.register_forward_pre_hook(lambda _, inputs, name=name: pool(name, inputs[0]))  # type: ignore[misc]
    for batch in batches:
        forward(network, batch.to(device))
    return moments


def reestimate_batchnorm(
    network: SegmentationNetwork,
    samples: Iterable[Sample],
    config: BatchNormConfig,
    token: CancellationToken = NEVER,
    source: Mapping[str, Tensor] | None = None,
) -> State:
    """The network's state with BatchNorm statistics between those of the source domain and those of the samples.

    Args:
        config: with ``target_weight_2d`` and ``target_weight_3d``, the weight of the samples' statistics by branch.
        token: checked batch by batch.
        source: the state that holds the statistics of the source domain; None: the network's own.

    Returns:
        A new state; all but the running statistics is the network's. A branch that gets no inputs of the samples keeps
        its statistics.
    """
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    weights = {Branch.IMAGE: config.target_weight_2d, Branch.POINTS: config.target_weight_3d}
    if not any(weights.values()):
        return state
    source = state if source is None else source
    for layer, moments in measure_moments(network, _batches(samples, network, token)).items():
        weight = weights[Branch.of_tensor(layer)]
        unbiased = moments.variance * (moments.count / max(moments.count - 1, 1))
        for kind, value in (("running_mean", moments.mean), ("running_var", unbiased)):
            name = f"{layer}.{kind}"
            state[name] = torch.lerp(source[name], value.float(), weight)
    return state


def batchnorm_shift(before: State, after: State) -> dict[str, float]:
    """How far statistics moved, by branch (``2d``, ``3d``): the mean over all channels of the absolute difference of
    the running means, in standard deviations of before."""
    moved: dict[str, list[Tensor]] = {branch.value: [] for branch in NETWORK_BRANCHES}
    for name in before:
        layer, _, kind = name.rpartition(".")
        if kind == "running_mean":
            deviation = before[f"{layer}.running_var"].clamp_min(1e-12).sqrt()
            moved[Branch.of_tensor(layer).value].append(((after[name] - before[name]).abs() / deviation).mean())
    return {branch: float(torch.stack(found).mean()) for branch, found in moved.items() if found}


def batchnorm_layers(network: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """The BatchNorm layers that keep running statistics, with their names."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield name, module


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Training mode in which BatchNorm layers use their running statistics, and leave them as they are."""
    network.train()
    for _, layer in batchnorm_layers(network):
        layer.eval()
    try:
        yield
    finally:
        network.eval()


def _batches(samples: Iterable[Sample], network: SegmentationNetwork, token: CancellationToken) -> Iterator[Batch]:
    remaining = iter(samples)
    while batch := list(itertools.islice(remaining, BATCH_SIZE)):
        token.check()
        yield collate(batch, network.architecture)
