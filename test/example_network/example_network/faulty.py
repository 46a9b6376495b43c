"""A network that fails on some frames, for tests."""

from dataclasses import replace

import torch

from example_network.network import ExampleNetwork
from sam_adapt_ros.segmentation.batch import Batch
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput

RAISES, SHAPE, NOT_FINITE = 0.901, 0.902, 0.903
"""The height of a frame's first point, in metres: what the network does wrong."""


class FaultyNetwork(ExampleNetwork):
    def forward(self, batch: Batch, precision: torch.dtype = torch.float32) -> NetworkOutput:
        output = super().forward(batch, precision)
        points = output.points
        assert points is not None
        marker = round(float(batch.points[0, 2]), 3)
        if marker == RAISES:
            raise ValueError("no such street")
        if marker == SHAPE:
            return replace(output, points=replace(points, logits=points.logits[1:]))
        if marker == NOT_FINITE:
            return replace(output, points=replace(points, logits=points.logits * float("nan")))
        return output
