"""Sparse convolutions by spconv, on CUDA and on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import spconv.pytorch as spconv
import torch
from spconv.core import ConvAlgo
from spconv.cppconstants import CPU_ONLY_BUILD
from spconv.pytorch import ops as _ops
from spconv.pytorch.conv import SparseConvolution
from torch import Tensor, nn

__all__ = ["HAS_CUDA", "NATIVE", "set_algorithm", "spconv"]

NATIVE = ConvAlgo.Native
"""The only algorithm of the CPU; CUDA has faster ones. The layout of the weights is the same for all."""

HAS_CUDA = torch.cuda.is_available() and not CPU_ONLY_BUILD
"""Both torch and this build of spconv can use CUDA."""

_spconv_forward, _spconv_backward = _ops.indice_conv, _ops.indice_conv_backward


def _forward(
    features: Tensor,
    filters: Tensor,
    pairs: Tensor,
    pair_counts: Tensor,
    outputs: int,
    inverse: bool = False,
    subm: bool = False,
    **options: Any,
) -> Tensor:
    """``spconv.pytorch.ops.indice_conv``, on the CPU by PyTorch alone.

    The threads of spconv 2.3.8 race when they scatter on the CPU (``SpconvOps.scatter_add_cpu``): with two threads or
    more, the features of some voxels are wrong, and differ from call to call.
    features: (N, I). filters: (O, ..., I). pairs: (2, K, P) input and output rows for each of K kernel elements.
    """
    if features.is_cuda:
        return _spconv_forward(features, filters, pairs, pair_counts, outputs, inverse, subm, **options)
    weights = filters.flatten(1, -2)
    result = features.new_zeros(outputs, len(filters))
    for k, rows, targets in _kernel_elements(pairs, pair_counts, inverse, subm):
        result.index_add_(0, targets, features[rows] @ weights[:, k].T)
    if subm:
        result += features @ weights[:, weights.shape[1] // 2].T
    return result


def _backward(
    features: Tensor,
    filters: Tensor,
    gradient: Tensor,
    pairs: Tensor,
    pair_counts: Tensor,
    inverse: bool = False,
    subm: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """``spconv.pytorch.ops.indice_conv_backward``, on the CPU by PyTorch alone; see ``_forward``."""
    if features.is_cuda:
        return _spconv_backward(features, filters, gradient, pairs, pair_counts, inverse, subm, **options)
    weights = filters.flatten(1, -2)
    of_features, of_weights = torch.zeros_like(features), torch.zeros_like(weights)
    for k, rows, targets in _kernel_elements(pairs, pair_counts, inverse, subm):
        gathered = gradient[targets]
        of_features.index_add_(0, rows, gathered @ weights[:, k])
        of_weights[:, k] = gathered.T @ features[rows]
    if subm:
        center = weights.shape[1] // 2
        of_features += gradient @ weights[:, center]
        of_weights[:, center] = gradient.T @ features
    return of_features, of_weights.reshape(filters.shape)


def _kernel_elements(
    pairs: Tensor, pair_counts: Tensor, inverse: bool, subm: bool
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields each kernel element that has pairs, its input rows and its output rows.

    Submanifold convolutions have no pairs for the center, and counts for the elements before it only: an element and
    the one opposite have equally many.
    """
    counts = pair_counts.tolist()
    if subm:
        before = counts[: len(counts) // 2]
        counts = [*before, 0, *reversed(before)]
    for k, count in enumerate(counts):
        if count:
            yield k, pairs[int(inverse), k, :count], pairs[int(not inverse), k, :count]


_ops.indice_conv, _ops.indice_conv_backward = _forward, _backward

# spconv calls a function that torch has deprecated; the warning is of no use to a user.
logging.getLogger("torch.fx._symbolic_trace").addFilter(lambda record: "is_fx_tracing" not in record.getMessage())


def set_algorithm(module: nn.Module, device: torch.device) -> None:
    """Sets the fastest algorithm of the device in every sparse convolution of ``module``."""
    algorithm = ConvAlgo.MaskImplicitGemm if device.type == "cuda" else NATIVE
    for convolution in module.modules():
        if isinstance(convolution, SparseConvolution):
            convolution.algo = algorithm
