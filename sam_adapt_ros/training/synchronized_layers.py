"""Layers that look at a whole batch, of which each of several processes has a part: they compute what one would.

BatchNorm's statistics are over the parts of all processes, and dropout draws one mask for all, of which each takes its
rows. Without the first, small parts of a batch would train another network than the whole.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


def synchronize_layers(network: nn.Module, device: torch.device) -> None:
    """Changes a network's BatchNorm and dropout layers in place; its parameters and buffers stay what and where they
    are. On CUDA, PyTorch's own synchronized BatchNorm is taken, which a CPU does not have."""
    if device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # PyTorch's, which keeps timm's joined activations

        convert_sync_batchnorm(network)
    for layer in network.modules():
        # The class alone is changed, so that all that a layer holds stays.
        if isinstance(layer, _BatchNorm) and device.type != "cuda":
            layer.__class__ = _SynchronizedBatchNorm
        elif type(layer) is nn.Dropout:
            layer.__class__ = _SynchronizedDropout


class _SynchronizedBatchNorm(_BatchNorm):
    """BatchNorm over the rows of all processes; with the activation of timm's layers that have one.

    A channel with a single value among all processes is normalized by the running statistics.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes after the channels."""

    def forward(self, input: Tensor) -> Tensor:
        normalized = self._normalize(input)
        for name in ("drop", "act"):
            if hasattr(self, name):
                normalized = getattr(self, name)(normalized)
        return normalized

    def _normalize(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        assert mean is not None and var is not None
        count = torch.tensor(float(x.numel() // x.shape[1]))
        if self.training:
            dist.all_reduce(count)
        if not self.training or count < 2:
            return functional.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        batch_mean = _Sum.apply(x.sum(axes)) / count
        centred = x - batch_mean.view(shape)
        batch_var = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            factor = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            mean.lerp_(batch_mean, factor)
            var.lerp_(batch_var * (count / (count - 1)), factor)
        scale = (batch_var + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        normalized = centred * scale.view(shape)
        return normalized if self.bias is None else normalized + self.bias.view(shape)


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(_, gradient)


class _SynchronizedDropout(nn.Dropout):
    """Dropout of this process's rows by the mask of the whole batch; the random numbers of all processes are the same
    before and after."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        counts = [torch.zeros(1, dtype=torch.int64, device=input.device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor([len(input)], device=input.device))
        rows = torch.cat(counts).tolist()
        first, total = sum(rows[: dist.get_rank()]), sum(rows)
        mask = functional.dropout(input.new_ones(total, *input.shape[1:]), self.p)
        return input * mask[first : first + len(input)]
