"""The point branch (3D): a U-Net of submanifold sparse convolutions over voxels, with one block a level as in xMUDA.

Graham, Engelcke, van der Maaten: 3D Semantic Segmentation with Submanifold Sparse Convolutional Networks, CVPR 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam_adapt_ros.segmentation.heads import BranchOutput, DualHeads
from sam_adapt_ros.segmentation.sparse_convolution import NATIVE, set_algorithm, spconv


def _normalized(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm1d(channels, eps=1e-4), nn.ReLU(inplace=True)]


def _block(inputs: int, outputs: int, key: str) -> nn.Module:
    """BatchNorm, ReLU, submanifold convolution."""
    convolution = spconv.SubMConv3d(inputs, outputs, 3, bias=False, indice_key=key, algo=NATIVE)
    return spconv.SparseSequential(*_normalized(inputs), convolution)


class _Level(nn.Module):
    """One level of the U-Net; it contains the coarser levels."""

    def __init__(self, widths: list[int], depth: int = 0) -> None:
        super().__init__()
        width, coarser = widths[0], widths[1:]
        self.encode = _block(width, width, f"level{depth}")
        if not coarser:
            return
        key = f"down{depth}"
        self.down = spconv.SparseSequential(
            *_normalized(width),
            spconv.SparseConv3d(width, coarser[0], 2, stride=2, bias=False, indice_key=key, algo=NATIVE),
        )
        self.inner = _Level(coarser, depth + 1)
        self.up = spconv.SparseSequential(
            *_normalized(coarser[0]),
            spconv.SparseInverseConv3d(coarser[0], width, 2, indice_key=key, bias=False, algo=NATIVE),
        )
        self.decode = _block(2 * width, width, f"level{depth}")

    def forward(self, x: spconv.SparseConvTensor) -> spconv.SparseConvTensor:
        x = self.encode(x)
        if not hasattr(self, "inner"):
            return x
        coarse = self.up(self.inner(self.down(x)))
        return self.decode(x.replace_feature(torch.cat([x.features, coarse.features], 1)))


class PointBranch(nn.Module):
    """Occupied voxels -> logits of the points in them.

    width: m, the channels of the finest level; level l has (l + 1) m. features: channels of the voxels.
    """

    def __init__(self, classes: int, width: int, levels: int, features: int = 1) -> None:
        super().__init__()
        self.levels = levels
        self.algorithm_of = torch.device("cpu")  # the device that spconv's algorithm is set for
        self.stem = spconv.SubMConv3d(features, width, 3, bias=False, indice_key="level0", algo=NATIVE)
        self.unet = _Level([(level + 1) * width for level in range(levels)])
        self.head = spconv.SparseSequential(*_normalized(width))
        self.heads = DualHeads(width, classes)

    def forward(self, voxels: Tensor, features: Tensor, voxel_of_point: Tensor, frames: int) -> BranchOutput:
        """Predictions of P points, each that of its voxel.

        voxels: (V, 4) int32 frame, x, y, z; not negative, each once.
        features: (V, F) float32.
        voxel_of_point: (P,) int64 rows of ``voxels``.
        frames: how many frames the batch holds.
        """
        if not len(voxels):
            empty = self.heads.classify.weight.new_zeros(len(voxel_of_point), self.heads.classify.in_features)
            return self.heads(empty)
        if voxels.device != self.algorithm_of:
            set_algorithm(self, voxels.device)
            self.algorithm_of = voxels.device
        with torch.no_grad():
            unit = 1 << (self.levels - 1)  # a grid of whole coarsest cells covers the finer levels' grids
            shape = [-(-(side + 1) // unit) * unit for side in voxels[:, 1:].amax(0).tolist()]
        x = spconv.SparseConvTensor(features, voxels, shape, frames)
        output = self.heads(self.head(self.unet(self.stem(x))).features)
        return output.rows(voxel_of_point)
