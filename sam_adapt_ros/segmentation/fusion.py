"""How the predictions of both branches become one. ``FUSIONS`` holds the rules by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sam_adapt_ros.segmentation.logits import BranchLogits, to_probabilities

Fusion = Callable[[Tensor, Tensor], Tensor]
"""(S, C) float32 logits of the image branch and of the point branch -> (S, C) probabilities of the same points."""


def mean(image: Tensor, points: Tensor) -> Tensor:
    """The mean of the two softmaxes, as xMUDA fuses them."""
    return (to_probabilities(image) + to_probabilities(points)) / 2


def product(image: Tensor, points: Tensor) -> Tensor:
    """The normalized product of the two softmaxes: either branch can rule a class out.

    Hinton, Training Products of Experts by Minimizing Contrastive Divergence, Neural Computation 2002.
    """
    return to_probabilities(image + points)  # the logarithms of the softmaxes differ from these by constants a row


FUSIONS: dict[str, Fusion] = {"mean": mean, "product": product}


def fuse(fusion: Fusion, logits: BranchLogits) -> Tensor:
    """(P, C) float32 probabilities: fused where a camera sees the point, the point branch's alone elsewhere.

    Where one branch is missing, the other's alone; without a point branch, 0 for the points that no camera sees.
    """
    points = logits.points.float()
    if not logits.has_points:
        return points.index_copy(0, logits.seen, to_probabilities(logits.image.float()))
    fused = to_probabilities(points)
    if len(logits.seen):
        seen = fusion(logits.image.float(), points.index_select(0, logits.seen))
        fused = fused.index_copy(0, logits.seen, seen)
    return fused
