"""The losses of both branches.

Jaritz, Vu, de Charette, Wirbel, Pérez: xMUDA: Cross-Modal Unsupervised Domain Adaptation for 3D Semantic Segmentation,
CVPR 2020 (arXiv 1911.12676); Cross-modal Learning for Domain Adaptation in 3D Semantic Segmentation, TPAMI 2022.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Batch
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput
from sam_adapt_ros.training.ranks import ONE_PROCESS, Ranks


def xmuda_losses(
    output: NetworkOutput,
    batch: Batch,
    weights: Tensor | None,
    lambda_xm: float,
    lambda_ce: float = 1.0,
    ranks: Ranks = ONE_PROCESS,
) -> dict[str, Tensor]:
    """Cross entropy of both classifiers (``ce_2d``, ``ce_3d``) where the batch is labelled, and the cross-modal loss of
    both imitating heads, over the points that a camera sees (``xm_2d``, ``xm_3d``); the terms of those branches and
    heads that the network has.

    Args:
        batch: with labels, true ones or pseudo-labels, or without.
        weights: (C,) of the classes in the cross entropy; None: all alike.
        lambda_xm, lambda_ce: factors of the cross-modal loss and of the cross entropy.
        ranks: the processes that have a part of the batch each. The terms are then this one's share, whose mean over
            the processes is the term of the whole batch.
    """
    image, points_seen = output.image, output.points and output.points.rows(batch.seen)
    terms: dict[str, Tensor] = {}
    masses: dict[str, Tensor | int] = {}  # what the means are taken over
    if image and batch.labels is not None:
        labels = (batch.labels if batch.image_labels is None else batch.image_labels)[batch.seen]
        terms["ce_2d"] = lambda_ce * cross_entropy(image.logits, labels, weights)
        masses["ce_2d"] = _mass(labels, weights)
    if output.points and batch.labels is not None:
        terms["ce_3d"] = lambda_ce * cross_entropy(output.points.logits, batch.labels, weights)
        masses["ce_3d"] = _mass(batch.labels, weights)
    if image and points_seen and image.imitation is not None:
        terms["xm_2d"] = lambda_xm * cross_modal(image.imitation, points_seen.logits)
        masses["xm_2d"] = len(batch.seen)
    if image and points_seen and points_seen.imitation is not None:
        terms["xm_3d"] = lambda_xm * cross_modal(points_seen.imitation, image.logits)
        masses["xm_3d"] = len(batch.seen)
    if ranks.size == 1:
        return terms
    shares = ranks.shares(torch.stack([torch.as_tensor(mass, device=batch.uv.device) for mass in masses.values()]))
    return {name: share * term for (name, term), share in zip(terms.items(), shares, strict=True)}


def _mass(labels: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of the labelled points' weights."""
    known = labels[labels != IGNORE]
    return torch.tensor(len(known)) if weights is None else weights[known].sum()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over the (N,) labels that are not 255; 0 (with a gradient of 0) where there are none.

    logits: (N, C). weights: (C,) by class, None: all alike.
    """
    if not bool((labels != IGNORE).any()):
        return logits.sum() * 0
    return functional.cross_entropy(logits.float(), labels, weights, ignore_index=IGNORE)


def cross_modal(imitation: Tensor, other: Tensor) -> Tensor:
    """Mean KL divergence of a branch's imitation from the other branch's prediction of the same points, which is
    taken as fixed: no gradient flows into it.

    imitation, other: (N, C) logits of the imitating head, and of the other branch's classifier.
    """
    if not len(imitation):
        return imitation.sum() * 0
    target = other.detach().float().softmax(1)
    return functional.kl_div(imitation.float().log_softmax(1), target, reduction="batchmean")


def class_weights(counts: NDArray[np.int64]) -> Tensor:
    """(C,) float32 weights log(5 N / N_c) of the classes, scaled to a minimum of 1, as in xMUDA.

    counts: (C,) labelled points N_c a class, N in total; a class without points counts as one point.
    """
    counts = np.maximum(np.asarray(counts, np.float64), 1)
    weights = np.log(5 * counts.sum() / counts)
    return torch.tensor(weights / weights.min(), dtype=torch.float32)
