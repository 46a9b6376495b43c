"""What the branches are trained with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sam_adapt_ros.frame import IGNORE


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over the (N,) labels that are not 255; 0 (with a gradient of 0) where there are none.

    weights: (C,) by class, None: all alike.
    """
    if not bool((labels != IGNORE).any()):
        return logits.sum() * 0
    return functional.cross_entropy(logits.float(), labels, weights, ignore_index=IGNORE)


def imitation(logits: Tensor, other: Tensor) -> Tensor:
    """xMUDA's cross-modal loss: KL divergence of the (N, C) imitating logits from what the other modality's
    classifying logits say of the same points; the gradient flows into the imitator alone."""
    if not len(logits):
        return logits.sum() * 0
    target = other.detach().float().softmax(1)
    return functional.kl_div(logits.float().log_softmax(1), target, reduction="batchmean")


def class_weights(counts: NDArray[np.int64]) -> Tensor:
    """(C,) log(5 N / N_c), scaled so that the least is 1, as published; a class without points counts as one point."""
    counts = np.maximum(np.asarray(counts, np.float64), 1)
    weights = np.log(5 * counts.sum() / counts)
    return torch.tensor(weights / weights.min(), dtype=torch.float32)
