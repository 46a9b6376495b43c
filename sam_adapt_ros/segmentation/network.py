"""The network: two branches that share nothing but the points they speak of."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from sam_adapt_ros import resources
from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import ConfigError
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
    """``image`` and ``points`` are whole models of their own: each can be trained, frozen or replaced alone."""

    def __init__(self, classes: int, architecture: ArchitectureConfig) -> None:
        super().__init__()
        self.architecture = architecture
        self.classes = classes
        self.image = ImageBranch(classes, architecture)
        self.points = PointBranch(
            classes, architecture.point_width, architecture.point_levels, VOXEL_FEATURES[architecture.point_features]
        )

    def forward(self, batch: Batch, precision: torch.dtype = torch.float32) -> NetworkOutput:
        """Both branches over a batch; ``precision`` below float32 means autocast, on CUDA only."""
        with _autocast(batch.voxels, precision):
            image = self.image(batch.images, batch.image_of_seen, batch.uv)
        # spconv's kernels know float16 and float32.
        with _autocast(batch.voxels, precision if precision == torch.float16 else torch.float32):
            points = self.points(batch.voxels, batch.features, batch.voxel_of_point, batch.frames)
        return NetworkOutput(image, points)


def with_state(network: Network, state: Mapping[str, Tensor]) -> Network:
    """A copy of the network with other weights, for inference."""
    other = copy.deepcopy(network)
    other.load_state_dict(dict(state))
    return other.eval().requires_grad_(False)


def _autocast(like: Tensor, precision: torch.dtype) -> torch.autocast:
    kind = like.device.type
    enabled = kind == "cuda" and precision != torch.float32
    return torch.autocast(kind, dtype=precision if enabled else torch.bfloat16, enabled=enabled)


def load_architecture(name: str | Path) -> ArchitectureConfig:
    """A preset (``paper``, ``small``) or a YAML file. Raises ConfigError that names the file and the field."""
    name = str(name)
    try:
        path = resources.find(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml", "config/architectures")
    except FileNotFoundError as error:
        raise ConfigError(f"architecture: {error}") from None
    try:
        return parse_architecture(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_architecture(values: Any) -> ArchitectureConfig:
    """Raises ConfigError that names the fields that do not fit."""
    try:
        return ArchitectureConfig.model_validate(values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise ConfigError("architecture: " + "; ".join(lines)) from None
