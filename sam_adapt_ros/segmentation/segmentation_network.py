"""The interface of networks: all that the rest of the package asks of one. docs/networks.md has an example."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import ArchitectureConfig, SegmenterConfig
from sam_adapt_ros.segmentation.batch import Batch
from sam_adapt_ros.segmentation.heads import BranchOutput

State = dict[str, Tensor]
"""A network's state dict: tensors by name, those of a branch under ``Branch.module``."""


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """image: of the S points that a camera sees, in the order of ``Batch.seen``. points: of all P points. None for a
    branch that the network does not have."""

    image: BranchOutput | None = None
    points: BranchOutput | None = None


class SegmentationNetwork(nn.Module, ABC):
    """A network of one or two branches, the image branch (2D) and the point branch (3D).

    What is trained are its ``parameters()``; what is saved, loaded, averaged and compared is its ``state_dict()``.
    The branches share no tensor: the names of all tensors begin with ``image.`` or ``points.``, so that the branches of
    any two of its states can be combined. Its normalization layers are those of PyTorch's BatchNorm classes that keep
    running statistics; these are re-estimated on new data, and all other layers are only trained.

    branches: those that it has, at least one.
    classifiers: by branch, the layer whose tensors are multiplied by s where the branch's logits are to be: its last
        linear layer or convolution, without a normalization after it. A branch that is not named keeps its scale.
    classes, architecture: what it was built with.
    """

    branches: tuple[Branch, ...] = NETWORK_BRANCHES
    classifiers: Mapping[Branch, str] = {}

    def __init__(self, classes: int, architecture: ArchitectureConfig) -> None:
        """classes: C, the size of the class set. architecture: the sizes of images and voxels that the network is given
        and, in ``options``, whatever else it wants to know; both are kept in the weights file."""
        super().__init__()
        self.classes = classes
        self.architecture = architecture

    @abstractmethod
    def forward(self, batch: Batch, precision: torch.dtype = torch.float32) -> NetworkOutput:
        """Finite logits of each branch over a batch on the network's device; any number of images and of points that a
        camera sees, none included, and at least one point.

        precision: what may be computed in; see ``autocast``.
        """

    def configure(self, config: SegmenterConfig, device: torch.device) -> None:  # it may need nothing
        """Called once before it computes on a device, to label or to train. Raises ConfigError."""

    def prepare_for_inference(self, device: torch.device) -> SegmentationNetwork:
        """The network to label frames with: itself, or one that computes the same faster, with folded or converted
        layers. Called once it is on the device; it must not change itself, since it may yet be trained from."""
        return self


AnyNetwork = TypeVar("AnyNetwork", bound=SegmentationNetwork)


def with_state(network: AnyNetwork, state: Mapping[str, Tensor]) -> AnyNetwork:
    """A copy of the network with other weights, for inference."""
    other = copy.deepcopy(network)
    other.load_state_dict(dict(state))
    return other.eval().requires_grad_(False)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context in which a device computes in ``precision``; it does nothing for float32, nor for float16 on a
    CPU."""
    enabled = precision != torch.float32 and (device.type == "cuda" or precision == torch.bfloat16)
    return torch.autocast(device.type, dtype=precision if enabled else torch.bfloat16, enabled=enabled)
