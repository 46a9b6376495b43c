"""A network of one's own: a few convolutions over the images, and a PointNet over the points as they are."""

import torch
from torch import nn

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.segmentation.batch import Batch
from sam_adapt_ros.segmentation.heads import BranchOutput
from sam_adapt_ros.segmentation.image_branch import sample_bilinear
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput, SegmentationNetwork, autocast


class Pixels(nn.Module):
    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
        )
        self.classify = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor, image_of_pixel: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
        if not len(uv):
            return self.classify.weight.new_zeros(0, self.classify.out_features)
        return self.classify(sample_bilinear(self.layers(images.float() / 255), image_of_pixel, uv))


class Points(nn.Module):
    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(4, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
        )
        self.classify = nn.Linear(width, classes)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.classify(self.layers(torch.cat([points / 10, points.norm(dim=1, keepdim=True) / 10], 1)))


class ExampleNetwork(SegmentationNetwork):
    """options: ``width``, channels; ``branches``, ``image`` and ``points`` or one of them."""

    def __init__(self, classes: int, architecture: ArchitectureConfig) -> None:
        super().__init__(classes, architecture)
        width = architecture.options.get("width", 16)
        wanted = architecture.options.get("branches", ["image", "points"])
        self.branches = tuple(branch for branch in NETWORK_BRANCHES if branch.module in wanted)
        self.classifiers = {branch: f"{branch.module}.classify" for branch in self.branches}
        self.image = Pixels(classes, width) if Branch.IMAGE in self.branches else None
        self.points = Points(classes, width) if Branch.POINTS in self.branches else None

    def forward(self, batch: Batch, precision: torch.dtype = torch.float32) -> NetworkOutput:
        output = {}
        with autocast(batch.points.device, precision):
            if self.image is not None:
                output["image"] = BranchOutput(self.image(batch.images, batch.image_of_seen, batch.uv))
            if self.points is not None:
                output["points"] = BranchOutput(self.points(batch.points))
        return NetworkOutput(**output)
