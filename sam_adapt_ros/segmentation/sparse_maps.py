"""Which voxels a sparse convolution joins: found once a level, by sorted keys, and used by every layer of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

_COLUMNS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Steps (dx, dy) to the columns of neighbours along z that come after a voxel; those before it follow by symmetry."""


@dataclass(frozen=True, eq=False)
class SparseMap:
    """Pairs of an input row and an output row, by kernel element.

    sources, targets: (P,) int64 input rows and output rows of all pairs, those of the first kernel element first. No
    element has a row twice.
    counts: (K,) int64 how many pairs each of the K kernel elements has.
    inputs, outputs: how many input rows and output rows there are.
    centre: the kernel element, without pairs here, that joins each row with itself; None where there is none.
    """

    sources: Tensor
    targets: Tensor
    counts: Tensor
    inputs: int
    outputs: int
    centre: int | None = None

    @cached_property
    def back(self) -> SparseMap:
        """The map with input and output exchanged."""
        return SparseMap(self.targets, self.sources, self.counts, self.outputs, self.inputs, self.centre)

    @cached_property
    def blocks(self) -> list[tuple[int, Tensor, Tensor]]:
        """The kernel elements that have pairs, with their (P,) input rows and output rows."""
        counts = self.counts.tolist()
        rows = zip(self.sources.split(counts), self.targets.split(counts), counts, strict=True)
        return [(element, source, target) for element, (source, target, count) in enumerate(rows) if count]

    @cached_property
    def table(self) -> Tensor:
        """(outputs, K) int64 input row that each kernel element joins with an output row; ``inputs`` where none is."""
        size, pairs = len(self.counts), len(self.sources)
        table = self.sources.new_full((self.outputs, size), self.inputs)
        elements = torch.arange(size, device=table.device).repeat_interleave(self.counts, output_size=pairs)
        table.view(-1).index_copy_(0, self.targets * size + elements, self.sources)
        if self.centre is not None:
            table[:, self.centre] = torch.arange(self.outputs, device=table.device)
        return table


@dataclass(frozen=True, eq=False)
class Voxels:
    """Occupied voxels, each once, in ascending order of frame, x, y, z.

    coordinates: (V, 4) int64 frame, x, y, z.
    keys: (V,) int64, ascending; those of neighbours along z differ by 1, along y by ``step_y``, along x by ``step_x``.
    """

    coordinates: Tensor
    keys: Tensor
    step_y: int
    step_x: int

    @classmethod
    def from_coordinates(cls, coordinates: Tensor) -> Voxels:
        """coordinates: (V, 4) integers, V > 0. Raises ValueError for another order and where int64 holds no keys."""
        voxels = cls._any_order(coordinates.long())
        if not bool((voxels.keys[1:] > voxels.keys[:-1]).all()):
            raise ValueError("voxels: ascending order of frame, x, y, z expected, each once")
        return voxels

    @classmethod
    def _any_order(cls, coordinates: Tensor) -> Voxels:
        low, high = coordinates.amin(0), coordinates.amax(0)
        # A margin on each side keeps the last voxels of a row apart from the first ones of the next.
        frames, width, depth, height = (high - low + 3).tolist()
        if frames * width * depth * height >= 2**63:
            raise ValueError(f"voxels: fewer than 2^63 cells expected, got {frames} x {width} x {depth} x {height}")
        step_x = depth * height
        keys = ((coordinates - low) * coordinates.new_tensor([width * step_x, step_x, height, 1])).sum(1)
        return cls(coordinates, keys, height, step_x)

    def __len__(self) -> int:
        return len(self.keys)


def join_neighbours(voxels: Voxels) -> SparseMap:
    """Pairs of voxels that touch, for a kernel of 3 x 3 x 3 elements."""
    keys, count = voxels.keys, len(voxels)
    padded = torch.cat([keys, keys.new_full((3,), torch.iinfo(keys.dtype).max)])
    columns = keys.new_tensor([dx * voxels.step_x + dy * voxels.step_y for dx, dy in _COLUMNS])
    wanted = keys + columns[:, None] - 1  # the lowest of the three neighbours in each column
    at = _places(keys, wanted)
    found, places = [], []
    for dz in range(3):
        hit = padded.index_select(0, at.flatten()).view_as(at) == wanted + dz
        found.append(hit)
        places.append(at)
        at = at + hit
    above = padded[1 : count + 1] == keys + 1
    hits = torch.cat([above[None], torch.stack(found, 1).flatten(0, 1)])  # (13, V), kernel elements 14 to 26
    rows = torch.cat([torch.arange(1, count + 1, device=keys.device), torch.stack(places, 1).flatten()])
    chosen = hits.flatten().nonzero().squeeze(1)
    later, earlier = rows.index_select(0, chosen), chosen % count
    counts = hits.sum(1)
    # Element k of a pair is element 26 - k of the exchanged pair.
    sources, targets = torch.cat([earlier.flip(0), later]), torch.cat([later.flip(0), earlier])
    return SparseMap(sources, targets, torch.cat([counts.flip(0), counts.new_zeros(1), counts]), count, count, 13)


def _places(keys: Tensor, wanted: Tensor) -> Tensor:
    """``torch.searchsorted``; on a CPU by NumPy, which makes use of rows of ``wanted`` that ascend, too."""
    if keys.device.type != "cpu":
        return torch.searchsorted(keys, wanted)
    return torch.from_numpy(np.searchsorted(keys.numpy(), wanted.numpy()))


def coarsen(voxels: Voxels) -> tuple[Voxels, SparseMap]:
    """The cells twice as large, and the map to them: one pair for each voxel, for a kernel of 2 x 2 x 2 elements."""
    halved = voxels.coordinates.clone()
    halved[:, 1:] >>= 1
    unsorted = Voxels._any_order(halved)
    keys, by_cell = unsorted.keys.sort(stable=True)
    keys, cell_of_sorted, sizes = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
    cell = torch.empty_like(by_cell).index_copy_(0, by_cell, cell_of_sorted)
    first = by_cell.index_select(0, sizes.cumsum(0) - sizes)
    coarser = Voxels(halved.index_select(0, first), keys, unsorted.step_y, unsorted.step_x)
    x, y, z = (voxels.coordinates[:, 1:] & 1).unbind(1)
    of_element = 4 * x + 2 * y + z == torch.arange(8, device=keys.device)[:, None]
    finer = of_element.nonzero()[:, 1]
    cells = cell.index_select(0, finer)
    return coarser, SparseMap(finer, cells, of_element.sum(1), len(voxels), len(keys))
