"""Normalization statistics re-estimated on unlabelled frames, a branch at a time: the least that adapts."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import BatchNormConfig
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate
from sam_adapt_ros.segmentation.network import Network, State


@dataclass
class Moments:
    """Mean and variance of a layer's inputs by channel, (F,) float64 each, pooled over ``count`` values."""

    count: int
    mean: Tensor
    variance: Tensor  # biased: of the values at hand

    @classmethod
    def of(cls, inputs: Tensor) -> Moments:
        """inputs: (N, F) or (N, F, ...), not empty."""
        values = inputs.detach().transpose(0, 1).flatten(1).double()
        return cls(values.shape[1], values.mean(1), values.var(1, unbiased=False))

    def pooled(self, other: Moments) -> Moments:
        """Of the values of both, each counting as often as it was met."""
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        mean = self.mean + share * apart
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * apart.square()
        return Moments(count, mean, variance)


@torch.no_grad()
def measure(network: Network, batches: Iterable[Batch]) -> dict[str, Moments]:
    """What each normalization layer, by name, gets to see of the batches.

    As in training, a layer normalizes by the statistics of its own batch, so that the layers above see what they would
    see after re-estimation. The network is left as it was.
    """
    moments: dict[str, Moments] = {}

    def remember(name: str, inputs: Tensor) -> None:
        if len(inputs):
            seen = Moments.of(inputs)
            moments[name] = moments[name].pooled(seen) if name in moments else seen

    student = copy.deepcopy(network).eval()
    device = next(student.parameters()).device
    for name, layer in layers(student):
        layer.train()
        layer.momentum = 0.0
        layer.register_forward_pre_hook(lambda _, inputs, name=name: remember(name, inputs[0]))  # type: ignore[misc]
    for batch in batches:
        student(batch.to(device))
    return moments


def renormalized(
    network: Network,
    samples: Iterable[Sample],
    config: BatchNormConfig,
    pause: Callable[[], None] = lambda: None,
    origin: Mapping[str, Tensor] | None = None,
) -> State:
    """The network's state with its normalization statistics moved from the origin's towards those of the samples.

    Statistics are interpolated by ``config.target_weight_2d`` and ``config.target_weight_3d``: 0 takes the origin's, 1
    the samples'. A branch that sees nothing of the samples keeps its own. pause: called batch by batch. origin: None:
    the network's.
    """
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    shares = {Branch.IMAGE: config.target_weight_2d, Branch.POINTS: config.target_weight_3d}
    if not any(shares.values()):
        return state
    for layer, moments in measure(network, _batches(samples, network, config.batch_size, pause)).items():
        share = shares[Branch.of_tensor(layer)]
        unbiased = moments.variance * (moments.count / max(moments.count - 1, 1))
        for kind, value in (("running_mean", moments.mean), ("running_var", unbiased)):
            name = f"{layer}.{kind}"
            state[name] = torch.lerp((state if origin is None else origin)[name], value.float(), share)
    return state


def displacement(before: State, after: State) -> dict[str, float]:
    """How far statistics moved, by branch: mean over the layers' channels of |difference of the means| in standard
    deviations of before."""
    moved: dict[str, list[Tensor]] = {branch.module: [] for branch in NETWORK_BRANCHES}
    for name in before:
        layer, _, kind = name.rpartition(".")
        if kind == "running_mean":
            deviation = before[f"{layer}.running_var"].clamp_min(1e-12).sqrt()
            moved[Branch.of_tensor(layer).module].append(((after[name] - before[name]).abs() / deviation).mean())
    return {branch: float(torch.stack(found).mean()) for branch, found in moved.items() if found}


def layers(network: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """The normalization layers that keep statistics, by name."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield name, module


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Training mode, but normalization layers use, and keep, their running statistics."""
    network.train()
    for _, layer in layers(network):
        layer.eval()
    try:
        yield
    finally:
        network.eval()


def _batches(samples: Iterable[Sample], network: Network, size: int, pause: Callable[[], None]) -> Iterator[Batch]:
    remaining = iter(samples)
    while batch := list(itertools.islice(remaining, size)):
        pause()
        yield collate(batch, network.architecture)
