"""Sparse convolutions in plain PyTorch: on any device, with gradients, with no sum whose order is left to chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sam_adapt_ros.segmentation.sparse_maps import SparseMap, Voxels, coarsen, join_neighbours

_GATHERED = 1 << 25
"""Numbers to gather at once, which bounds memory: twice as many are held for a moment."""


class Grid(Protocol):
    """One level of occupied voxels. Features are (V, I) rows by voxel; kernels are (O, k, k, k, I), as spconv's."""

    @property
    def coarser(self) -> Grid:
        """The level of cells twice as large; to be asked for after ``down``."""
        ...

    def submanifold(self, features: Tensor, kernel: Tensor) -> Tensor:
        """Convolution with 3 x 3 x 3 elements; outputs where there are inputs. (V, I) -> (V, O)."""
        ...

    def down(self, features: Tensor, kernel: Tensor) -> Tensor:
        """Convolution with 2 x 2 x 2 elements and stride 2: (V, I) -> (C, O) features of the coarser level."""
        ...

    def up(self, features: Tensor, kernel: Tensor) -> Tensor:
        """The transposed convolution of ``down``: (C, I) features of the coarser level -> (V, O)."""
        ...


Backend = Callable[[Tensor, int, int], Grid]
"""(V, 4) int32 voxels (frame, x, y, z; ascending, not negative), how many frames and levels -> the finest level."""


def torch_backend(voxels: Tensor, frames: int, levels: int) -> TorchGrid:
    """The backend in plain PyTorch. Raises ValueError for voxels in another order."""
    return TorchGrid(Voxels.from_coordinates(voxels))


class TorchGrid:
    """Neighbours by sorted keys; then gather and matrix product, on a CPU one kernel element after the other."""

    def __init__(self, voxels: Voxels) -> None:
        self._voxels = voxels

    @cached_property
    def _neighbours(self) -> SparseMap:
        return join_neighbours(self._voxels)

    @cached_property
    def _coarsening(self) -> tuple[TorchGrid, SparseMap]:
        coarser, down = coarsen(self._voxels)
        return TorchGrid(coarser), down

    @property
    def coarser(self) -> TorchGrid:
        return self._coarsening[0]

    def submanifold(self, features: Tensor, kernel: Tensor) -> Tensor:
        joined = self._neighbours
        return _convolve(features, kernel.flatten(1, 3), joined, joined.back)

    def down(self, features: Tensor, kernel: Tensor) -> Tensor:
        down = self._coarsening[1]
        return _convolve(features, kernel.flatten(1, 3), down, down.back)

    def up(self, features: Tensor, kernel: Tensor) -> Tensor:
        down = self._coarsening[1]
        return _convolve(features, kernel.flatten(1, 3), down.back, down)


KERNEL_SIZES = {"submanifold": 3, "down": 2, "up": 2}
"""Elements a side of the kernels of a grid's convolutions."""


class SparseConvolution(nn.Module):
    """The kernel of one of a grid's convolutions: ``submanifold``, ``down`` or ``up``."""

    def __init__(self, kind: str, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kind = kind
        size = KERNEL_SIZES[kind]
        bound = (inputs * size**3) ** -0.5  # as in torch's own convolutions
        self.weight = nn.Parameter(torch.empty(outputs, size, size, size, inputs).uniform_(-bound, bound))

    def forward(self, features: Tensor, grid: Grid) -> Tensor:
        """features: (V, inputs) of ``grid``, or of its coarser level for ``up``."""
        convolved: Tensor = getattr(grid, self.kind)(features, self.weight)
        return convolved


def _convolve(features: Tensor, kernel: Tensor, joined: SparseMap, back: SparseMap) -> Tensor:
    """(inputs, I) features, (O, K, I) kernel -> (outputs, O). back: ``joined`` with input and output exchanged."""
    convolved: Tensor = _Convolution.apply(*autocasted(features, kernel), joined, back)
    return convolved


def autocasted(features: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the type that autocast computes in; it knows PyTorch's own convolutions alone."""
    device = features.device.type
    if not torch.is_autocast_enabled(device):
        return features, kernel
    dtype = torch.get_autocast_dtype(device)
    return features.to(dtype), kernel.to(dtype)


class _Convolution(torch.autograd.Function):
    """Nothing of the size of the pairs is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor, joined: SparseMap, back: SparseMap) -> Tensor:
        ctx.save_for_backward(features, kernel)
        ctx.maps = joined, back
        return _apply(features, kernel, joined)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[override]
        features, kernel = ctx.saved_tensors
        joined, back = ctx.maps
        of_features = of_kernel = None
        if ctx.needs_input_grad[0]:
            of_features = _apply(gradient, kernel.transpose(0, 2), back)
        if ctx.needs_input_grad[1]:
            of_kernel = _kernel_gradient(features, gradient, joined).view_as(kernel)
        return of_features, of_kernel, None, None


def _apply(features: Tensor, kernel: Tensor, joined: SparseMap) -> Tensor:
    """(inputs, I) features, (O, K, I) kernel -> (outputs, O).

    On a CPU, sums are added up in the order of the blocks, whatever the threads do: none has an output row twice.
    """
    if _at_once(features):
        matrix = kernel.flatten(1).T
        return torch.cat([gathered.mm(matrix) for _, gathered in _gathered(features, joined)])
    matrices = kernel.permute(1, 2, 0).unbind()
    if joined.centre is None:
        result = features.new_zeros(joined.outputs, len(kernel))
    else:
        result = features.mm(matrices[joined.centre])
    for element, rows, targets in joined.blocks:
        result.index_add_(0, targets, features.index_select(0, rows).mm(matrices[element]))
    return result


def _kernel_gradient(features: Tensor, gradient: Tensor, joined: SparseMap) -> Tensor:
    """(inputs, I) features, (outputs, O) gradient -> (O, K * I)."""
    elements = len(joined.counts)
    if _at_once(features):
        parts = [gradient[rows].T.mm(gathered) for rows, gathered in _gathered(features, joined)]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
    result = features.new_zeros(gradient.shape[1], elements, features.shape[1])
    if joined.centre is not None:
        result[:, joined.centre] = gradient.T @ features
    for element, rows, targets in joined.blocks:
        result[:, element] = gradient.index_select(0, targets).T @ features.index_select(0, rows)
    return result.flatten(1)


def _at_once(features: Tensor) -> bool:
    """Whether to gather what all kernel elements need before one matrix product. A voxel has a fifth of all neighbours,
    and a CPU would compute five times as much; a GPU has less to start, which takes it longer than to compute."""
    return features.device.type != "cpu"


def _gathered(features: Tensor, joined: SparseMap) -> Iterator[tuple[slice, Tensor]]:
    """Some output rows at a time, and for these the (rows, K * I) features of the input rows that they are joined
    with."""
    elements = len(joined.counts)
    padded = torch.cat([features, features.new_zeros(1, features.shape[1])])
    step = max(1, _GATHERED // (elements * features.shape[1]))
    for start in range(0, joined.outputs, step):
        rows = slice(start, start + step)
        yield rows, padded.index_select(0, joined.table[rows].flatten()).view(-1, elements * features.shape[1])
