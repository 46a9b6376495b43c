"""The network: an image branch and a point branch, which share no layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.segmentation.batch import VOXEL_FEATURES, Batch
from sam_adapt_ros.segmentation.heads import BranchOutput
from sam_adapt_ros.segmentation.image_branch import ImageBranch
from sam_adapt_ros.segmentation.point_branch import PointBranch

State = dict[str, Tensor]
"""A network's state dict: tensors by name, those of a branch under ``Branch.module``."""


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """image: of the S points that a camera sees, in the order of ``Batch.seen``. points: of all P points."""

    image: BranchOutput
    points: BranchOutput


class Network(nn.Module):
    """xMUDA's network: each branch is a whole model that can be trained, frozen or replaced alone.

    Jaritz, Vu, de Charette, Wirbel, Pérez: Cross-modal Learning for Domain Adaptation in 3D Semantic Segmentation,
    TPAMI 2022.
    """

    def __init__(self, classes: int, architecture: ArchitectureConfig) -> None:
        super().__init__()
        self.architecture = architecture
        self.classes = classes
        self.image = ImageBranch(classes, architecture)
        self.points = PointBranch(
            classes, architecture.point_width, architecture.point_levels, VOXEL_FEATURES[architecture.point_features]
        )

    def forward(self, batch: Batch, precision: torch.dtype = torch.float32) -> NetworkOutput:
        """Both branches over a batch on the network's device; autocast to ``precision`` on CUDA."""
        with _autocast(batch.voxels.device, precision):
            image = self.image(batch.images, batch.image_of_seen, batch.uv)
        # spconv computes in float16 or float32, not in bfloat16.
        with _autocast(batch.voxels.device, precision if precision == torch.float16 else torch.float32):
            points = self.points(batch.voxels, batch.features, batch.voxel_of_point, batch.frames)
        return NetworkOutput(image, points)


def with_state(network: Network, state: Mapping[str, Tensor]) -> Network:
    """A copy of the network with other weights, for inference."""
    other = copy.deepcopy(network)
    other.load_state_dict(dict(state))
    return other.eval().requires_grad_(False)


def _autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    enabled = device.type == "cuda" and precision != torch.float32
    return torch.autocast(device.type, dtype=precision if enabled else torch.bfloat16, enabled=enabled)
