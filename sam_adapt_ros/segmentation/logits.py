"""The logits of a network's branches: as the interface demands them, and frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate
from sam_adapt_ros.segmentation.heads import BranchOutput
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput, SegmentationNetwork


class BranchLogits(NamedTuple):
    """One frame's logits, P points of which S are seen by a camera, C classes.

    image: (S, C) of the image branch. points: (P, C) of the point branch.
    seen: (S,) int64 rows of ``points`` that ``image`` is of.
    has_points: whether there is a point branch; if not, ``points`` is 0. Without an image branch, S is 0.
    """

    image: Tensor
    points: Tensor
    seen: Tensor
    has_points: bool = True

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """(S, C) and (P, C) float32 of the two branches; 0 without a point branch."""
        points = self.points.float()
        return to_probabilities(self.image.float()), to_probabilities(points) if self.has_points else torch.zeros_like(
            points
        )

    def check_finite(self, network: SegmentationNetwork) -> None:
        """Raises NetworkError when a logit is not a finite number."""
        # A sum is finite only if all its terms are, and takes a tenth of the time of testing each.
        if not bool(torch.isfinite(self.image.float().sum() + self.points.float().sum())):
            raise NetworkError("network_not_finite", f"network {network.architecture.network}: logits are not finite")


def forward(network: SegmentationNetwork, batch: Batch, precision: torch.dtype = torch.float32) -> NetworkOutput:
    """The network's output over a batch, of the shapes that the interface demands; without points it is not asked.

    Raises NetworkError that says what the network raised or returned instead.
    """
    count = {Branch.IMAGE: len(batch.seen), Branch.POINTS: len(batch.voxel_of_point)}
    if not count[Branch.POINTS]:
        nothing = BranchOutput(*(next(network.parameters()).new_zeros(0, network.classes) for _ in range(2)))
        return NetworkOutput(**{branch.module: nothing for branch in network.branches})
    name = network.architecture.network
    try:
        output = network(batch, precision)
    except Exception as error:  # a network's code is not ours
        raise NetworkError("network_failed", f"network {name}: {type(error).__name__}: {error}") from error
    for branch in NETWORK_BRANCHES:
        found = getattr(getattr(output, branch.module, None), "logits", None)
        expected = (count[branch], network.classes) if branch in network.branches else None
        got = tuple(found.shape) if isinstance(found, Tensor) else found
        if got != expected:
            what = f"{branch.module}: logits of shape {expected} expected, got {got}"
            raise NetworkError("network_shape", f"network {name}: {what}")
    return output


def infer(network: SegmentationNetwork, batch: Batch, precision: torch.dtype = torch.float32) -> BranchLogits:
    """The logits of a batch of one frame, on the network's device. Raises NetworkError as ``forward``."""
    output = forward(network, batch, precision)
    points = output.points.logits if output.points else batch.uv.new_zeros(len(batch.voxel_of_point), network.classes)
    if output.image is None:
        return BranchLogits(points[:0], points, batch.seen[:0])
    return BranchLogits(output.image.logits, points, batch.seen, output.points is not None)


def labels_of(probabilities: Tensor) -> NDArray[np.uint8]:
    """(N,) the most probable class by row of (N, C); 255 where all are 0: there is no prediction."""
    best = probabilities.max(1)
    return np.where(best.values.numpy() == 0, IGNORE, best.indices.numpy()).astype(np.uint8)


def to_probabilities(logits: Tensor) -> Tensor:
    """(N, C) logits -> (N, C) probabilities, their softmax over the classes.

    Over the first axis of the transposed matrix torch computes many rows at once: ten times as fast where there are few
    classes, with the same result to the last bits.
    """
    return logits.T.softmax(0).T


@torch.inference_mode()
def compute_logits(
    network: SegmentationNetwork,
    samples: Iterable[Sample],
    dtype: torch.dtype = torch.float32,
    token: CancellationToken = NEVER,
) -> list[BranchLogits]:
    """The network's logits on each sample, one forward pass a sample; the network is left in evaluation mode.

    Args:
        dtype: of the logits returned, on the CPU; float16 halves their memory.
        token: checked before each sample. Raises Cancelled, and NetworkError as ``forward``.
    """
    network.eval()
    device = next(network.parameters()).device
    found = []
    for sample in samples:
        token.check()
        batch = collate([sample], network.architecture)
        logits = infer(network, batch.to(device))
        image, points = (branch.to("cpu", dtype) for branch in (logits.image, logits.points))
        found.append(BranchLogits(image, points, logits.seen.cpu(), logits.has_points))
    return found
