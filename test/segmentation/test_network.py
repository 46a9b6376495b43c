from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from sam_adapt_ros.adaptation.batchnorm import batchnorm_layers
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.network import Network

MakeFrame = Callable[..., Frame]


def statistics(network: Network) -> dict[str, torch.Tensor]:
    return {name: layer.running_mean.clone() for name, layer in batchnorm_layers(network)}


def test_points_in_one_voxel_are_normalized_by_the_running_statistics(network: Network, make_frame: MakeFrame) -> None:
    """A single value has no variance. Several such frames have one, and ordinary ones as well."""
    frame = make_frame(points=50)
    heap = replace(frame, points=frame.points * np.float32(1e-3) + np.float32(0.1))
    ordinary, single = (Sample.from_frame(each, network.architecture) for each in (frame, heap))
    network.train()
    for samples, moves in (([single], False), ([single, single], True), ([ordinary], True)):
        before = statistics(network)
        batch = collate(samples, network.architecture)
        output = network(batch)
        (output.points.logits.sum() + output.image.logits.sum()).backward()
        assert all(
            torch.isfinite(parameter.grad).all() for parameter in network.parameters() if parameter.grad is not None
        )
        after = statistics(network)
        changed = {name for name in after if name.startswith("points.") and not torch.equal(after[name], before[name])}
        assert bool(changed) == moves
        assert all(layer.training for _, layer in batchnorm_layers(network))
