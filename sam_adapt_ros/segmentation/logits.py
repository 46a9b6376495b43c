"""The logits of the network's branches, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.network import Network


class BranchLogits(NamedTuple):
    """One frame's logits, P points of which S are seen by a camera, C classes.

    image: (S, C) of the image branch. points: (P, C) of the point branch.
    seen: (S,) int64 rows of ``points`` that ``image`` is of.
    """

    image: Tensor
    points: Tensor
    seen: Tensor


@torch.inference_mode()
def compute_logits(
    network: Network,
    samples: Iterable[Sample],
    dtype: torch.dtype = torch.float32,
    token: CancellationToken = NEVER,
) -> list[BranchLogits]:
    """The network's logits on each sample, one forward pass a sample; the network is left in evaluation mode.

    Args:
        dtype: of the logits returned, on the CPU; float16 halves their memory.
        token: checked before each sample. Raises Cancelled.
    """
    network.eval()
    device = next(network.parameters()).device
    found = []
    for sample in samples:
        token.check()
        batch = collate([sample], network.architecture)
        output = network(batch.to(device))
        image, points = (branch.logits.to("cpu", dtype) for branch in (output.image, output.points))
        found.append(BranchLogits(image, points, batch.seen))
    return found
