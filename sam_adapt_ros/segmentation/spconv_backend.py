"""Sparse convolutions by spconv, which is optional: for CUDA, and as a second opinion on the CPU.

Importing it needs spconv 2.3, of which there are wheels for x86 only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import spconv.pytorch as spconv
import torch
from spconv.core import ConvAlgo
from spconv.pytorch import ops as _ops
from torch import Tensor

from sam_adapt_ros.segmentation.sparse_convolution import autocasted

# spconv calls a function that torch has deprecated; the warning is of no use to a user.
logging.getLogger("torch.fx._symbolic_trace").addFilter(lambda record: "is_fx_tracing" not in record.getMessage())


def spconv_backend(voxels: Tensor, frames: int, levels: int) -> SpconvGrid:
    """The backend of spconv; see ``sparse_convolution.Backend``."""
    unit = 1 << (levels - 1)  # a grid of whole coarsest cells covers the finer levels' grids
    shape = [-(-(side + 1) // unit) * unit for side in voxels[:, 1:].amax(0).tolist()]
    voxels = voxels.contiguous()  # spconv reads the memory, whatever the strides are
    return SpconvGrid(spconv.SparseConvTensor(voxels[:, :1].float(), voxels, shape, frames))


class SpconvGrid:
    """A ``Grid``; the tensor keeps the maps of all levels, by the names given here."""

    def __init__(self, tensor: spconv.SparseConvTensor, level: int = 0) -> None:
        self._tensor = tensor
        self._level = level
        self.coarser: SpconvGrid

    def submanifold(self, features: Tensor, kernel: Tensor) -> Tensor:
        self._tensor = _convolve(spconv.SubMConv3d, f"level{self._level}", self._tensor, features, kernel)
        return self._tensor.features

    def down(self, features: Tensor, kernel: Tensor) -> Tensor:
        tensor = _convolve(spconv.SparseConv3d, f"down{self._level}", self._tensor, features, kernel, stride=2)
        self.coarser = SpconvGrid(tensor, self._level + 1)
        return tensor.features

    def up(self, features: Tensor, kernel: Tensor) -> Tensor:
        tensor = self.coarser._tensor
        return _convolve(spconv.SparseInverseConv3d, f"down{self._level}", tensor, features, kernel).features


def _convolve(
    kind: type, key: str, tensor: spconv.SparseConvTensor, features: Tensor, kernel: Tensor, **options: int
) -> spconv.SparseConvTensor:
    features, kernel = autocasted(features, kernel)  # which spconv does by itself in training only
    # The CPU has one algorithm, CUDA has a faster one.
    algorithm = ConvAlgo.MaskImplicitGemm if features.is_cuda else ConvAlgo.Native
    outputs, size, *_, inputs = kernel.shape
    module = _layer(kind, key, inputs, outputs, size, algorithm, **options)
    return module._conv_forward(torch.is_grad_enabled(), tensor.replace_feature(features), kernel, None)


@lru_cache(maxsize=256)
def _layer(kind: type, key: str, inputs: int, outputs: int, size: int, algorithm: ConvAlgo, **options: int) -> Any:
    """spconv's layer, of which only the settings are used: kernels are the network's own."""
    with torch.device("meta"):
        return kind(inputs, outputs, size, bias=False, indice_key=key, algo=algorithm, **options)


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
