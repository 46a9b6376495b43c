"""The point branch (3D): a U-Net of submanifold sparse convolutions over voxels, with one block a level as in xMUDA.

Graham, Engelcke, van der Maaten: 3D Semantic Segmentation with Submanifold Sparse Convolutional Networks, CVPR 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam_adapt_ros.segmentation.heads import BranchOutput, DualHeads
from sam_adapt_ros.segmentation.sparse_convolution import Backend, Grid, SparseConvolution, torch_backend


def _normalized(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm1d(channels, eps=1e-4), nn.ReLU(inplace=True)]


class _Block(nn.ModuleList):
    """BatchNorm, ReLU, sparse convolution."""

    def __init__(self, kind: str, inputs: int, outputs: int) -> None:
        super().__init__([*_normalized(inputs), SparseConvolution(kind, inputs, outputs)])

    def forward(self, features: Tensor, grid: Grid) -> Tensor:
        normalize, activate, convolve = self
        convolved: Tensor = convolve(activate(normalize(features)), grid)
        return convolved


class _Level(nn.Module):
    """One level of the U-Net; it contains the coarser levels."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        width, coarser = widths[0], widths[1:]
        self.encode = _Block("submanifold", width, width)
        if not coarser:
            return
        self.down = _Block("down", width, coarser[0])
        self.inner = _Level(coarser)
        self.up = _Block("up", coarser[0], width)
        self.decode = _Block("submanifold", 2 * width, width)

    def forward(self, features: Tensor, grid: Grid) -> Tensor:
        features = self.encode(features, grid)
        if not hasattr(self, "inner"):
            return features
        coarse = self.inner(self.down(features, grid), grid.coarser)
        decoded: Tensor = self.decode(torch.cat([features, self.up(coarse, grid)], 1), grid)
        return decoded


class PointBranch(nn.Module):
    """Occupied voxels -> logits of the points in them.

    width: m, the channels of the finest level; level l has (l + 1) m. features: channels of the voxels.
    backend: what computes the sparse convolutions; the weights do not depend on it.
    """

    def __init__(self, classes: int, width: int, levels: int, features: int = 1) -> None:
        super().__init__()
        self.levels = levels
        self.backend: Backend = torch_backend
        self.stem = SparseConvolution("submanifold", features, width)
        self.unet = _Level([(level + 1) * width for level in range(levels)])
        self.head = nn.Sequential(*_normalized(width))
        self.heads = DualHeads(width, classes)

    def forward(self, voxels: Tensor, features: Tensor, voxel_of_point: Tensor, frames: int) -> BranchOutput:
        """Predictions of P points, each that of its voxel.

        voxels: (V, 4) int32 frame, x, y, z; not negative, in ascending order, each once.
        features: (V, F) float32.
        voxel_of_point: (P,) int64 rows of ``voxels``.
        frames: how many frames the batch holds.
        """
        if not len(voxels):
            empty = self.heads.classify.weight.new_zeros(len(voxel_of_point), self.heads.classify.in_features)
            return self.heads(empty)
        with torch.no_grad():
            grid = self.backend(voxels, frames, self.levels)
        output = self.heads(self.head(self.unet(self.stem(features, grid), grid)))
        return output.rows(voxel_of_point)
