"""How the branches' opinions become one. A rule is one small class; ``FUSIONS`` holds them by name."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Fusion(Protocol):
    """(S, C) logits of the image branch and of the point branch -> (S, C) probabilities of the same points."""

    def __call__(self, image_logits: Tensor, point_logits: Tensor) -> Tensor: ...


class Mean:
    """The mean of the two softmaxes, as published."""

    def __call__(self, image_logits: Tensor, point_logits: Tensor) -> Tensor:
        return (image_logits.softmax(1) + point_logits.softmax(1)) / 2


class Product:
    """The normalized product of the two softmaxes (a product of experts): either branch can rule a class out."""

    def __call__(self, image_logits: Tensor, point_logits: Tensor) -> Tensor:
        return (image_logits.log_softmax(1) + point_logits.log_softmax(1)).softmax(1)


FUSIONS: dict[str, type[Fusion]] = {"mean": Mean, "product": Product}


def fuse(rule: Fusion, image_logits: Tensor, point_logits: Tensor, seen: Tensor) -> Tensor:
    """(P, C) probabilities: the rule's where a camera sees the point, the point branch's alone elsewhere.

    image_logits: (S, C). point_logits: (P, C). seen: (S,) int64 rows of the points that the image logits are of.
    """
    fused = point_logits.softmax(1)
    if len(seen):
        fused = fused.index_copy(0, seen, rule(image_logits, point_logits.index_select(0, seen)))
    return fused


def probabilities(logits: Tensor) -> Tensor:
    """Softmax in float32 over classes, whatever the precision that the logits came in."""
    return torch.softmax(logits.float(), 1)
