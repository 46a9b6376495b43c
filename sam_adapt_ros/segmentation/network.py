"""The package's own network: an image branch and a point branch, which share no layer."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.config import ArchitectureConfig, SegmenterConfig
from sam_adapt_ros.segmentation.batch import Batch, voxel_channels
from sam_adapt_ros.segmentation.image_branch import ImageBranch
from sam_adapt_ros.segmentation.point_branch import PointBranch
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput, SegmentationNetwork, autocast
from sam_adapt_ros.segmentation.sparse_backend import choose_backend


class Network(SegmentationNetwork):
    """xMUDA's network: each branch is a whole model that can be trained, frozen or replaced alone.

    Jaritz, Vu, de Charette, Wirbel, Pérez: Cross-modal Learning for Domain Adaptation in 3D Semantic Segmentation,
    TPAMI 2022.
    """

    classifiers = {branch: f"{branch.module}.heads.classify" for branch in NETWORK_BRANCHES}  # noqa: RUF012

    def __init__(self, classes: int, architecture: ArchitectureConfig) -> None:
        super().__init__(classes, architecture)
        self.image = ImageBranch(classes, architecture)
        self.points = PointBranch(
            classes, architecture.point_width, architecture.point_levels, voxel_channels(architecture)
        )

    def forward(self, batch: Batch, precision: torch.dtype = torch.float32) -> NetworkOutput:
        """Both branches over a batch on the network's device; autocast to ``precision``."""
        image = self.image(batch.images, batch.image_of_seen, batch.uv, precision)
        # spconv computes in float16 or float32, not in bfloat16.
        half = autocast(batch.voxels.device, precision if precision == torch.float16 else torch.float32)
        with half, self._statistics_of(batch):
            points = self.points(batch.voxels, batch.features, batch.voxel_of_point, batch.frames)
        return NetworkOutput(image, points)

    def configure(self, config: SegmenterConfig, device: torch.device) -> None:
        self.points.backend = choose_backend(config.sparse_backend, device)

    def prepare_for_inference(self, device: torch.device) -> Network:
        other = copy.copy(self)  # which shares the point branch
        other._modules = {**self._modules, "image": self.image.prepare_for_inference()}
        return other

    @contextmanager
    def _statistics_of(self, batch: Batch) -> Iterator[None]:
        """BatchNorm layers in training need several values a channel; those of the point branch use their running
        statistics where the batch has only one, at the coarsest level: all points in one of its cells."""
        training = [layer for layer in self.points.modules() if isinstance(layer, nn.BatchNorm1d) and layer.training]
        if training and len(batch.voxels):
            cells = batch.voxels.clone()
            cells[:, 1:] >>= self.architecture.point_levels - 1
            if bool((cells != cells[0]).any()):
                training = []
        for layer in training:
            layer.eval()
        try:
            yield
        finally:
            for layer in training:
                layer.train()
