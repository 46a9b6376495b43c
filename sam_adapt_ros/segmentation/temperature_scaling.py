"""Temperature scaling of both branches, so that their product weighs each by its reliability.

A network trained for long is overconfident, and outside its training domain one branch more so than the other; a
product of experts then follows the more confident branch rather than the more reliable one. Scaling the logits of a
branch (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017) keeps its own predictions and
makes the product a weighted one, a logarithmic opinion pool (Heskes: Selecting Weighting Factors in Logarithmic Opinion
Pools, NIPS 1997). The scales are folded into the classifiers, so that inference pays nothing for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.logits import BranchLogits
from sam_adapt_ros.segmentation.segmentation_network import State

_MIN_POINTS, _MAX_POINTS = 100, 50_000  # points of a group that are enough to fit two numbers
_MAX_LOG_SCALE = math.log(20.0)  # neither branch is silenced, nor decides alone
_PRIOR = 1e-4  # weight of the squared log scales: keeps a scale at 1 that the labels do not determine


class LogitScales(NamedTuple):
    """The factors of the branches' logits: inverse temperatures, from 1/20 to 20."""

    image: float = 1.0
    points: float = 1.0

    def of(self, classifiers: Mapping[Branch, str]) -> LogitScales:
        """The scales that a network can take over: those of the branches whose classifier it names."""
        taken = zip(NETWORK_BRANCHES, self, strict=True)
        return LogitScales(*(scale if branch in classifiers else 1.0 for branch, scale in taken))


def fit_scales(logits: Sequence[BranchLogits], labels: Sequence[NDArray[np.uint8]]) -> LogitScales:
    """The scales by which the product of both branches explains the labels best.

    Minimizes the negative log-likelihood, its mean over the points that a camera sees plus its mean over the others,
    which the point branch predicts alone. A group of fewer than 100 labelled points does not count; a branch that no
    group determines keeps scale 1.

    Args:
        labels: (P,) class ids by frame, 255 = unknown.
    """
    groups = [group for group in _group(logits, labels) if len(group.truth) >= _MIN_POINTS]
    if not groups:
        return LogitScales()
    log_scales = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scales], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        image, points = log_scales.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp()
        total = _PRIOR * log_scales.square().sum()
        for group in groups:
            # The softmax of a sum of logits is the normalized product of their softmaxes.
            total = total + F.cross_entropy(image * group.image + points * group.points, group.truth)
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return LogitScales(*log_scales.detach().clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp().tolist())


def scale_logits(logits: BranchLogits, scales: LogitScales) -> BranchLogits:
    """One frame's logits times the scales, in float32."""
    return logits._replace(image=logits.image.float() * scales.image, points=logits.points.float() * scales.points)


def scale_classifiers(state: Mapping[str, Tensor], scales: LogitScales, classifiers: Mapping[Branch, str]) -> State:
    """A copy of a network's state whose classifiers give logits times the scales; nothing else changes.

    classifiers: those of the network; the logits of a branch without one stay as they are.
    """
    result = dict(state)
    for branch, scale in zip(NETWORK_BRANCHES, scales, strict=True):
        for name in state:
            if branch in classifiers and name.startswith(f"{classifiers[branch]}."):
                result[name] = state[name] * scale
    return result


class _Group(NamedTuple):
    """(M, C) float32 logits of both branches, 0 for a branch without a prediction, and (M,) true classes."""

    image: Tensor
    points: Tensor
    truth: Tensor


def _group(logits: Sequence[BranchLogits], labels: Sequence[NDArray[np.uint8]]) -> list[_Group]:
    """The labelled points that a camera sees, and the others; each evenly thinned out to at most ``_MAX_POINTS``."""
    if not logits:
        return []
    image = torch.cat([torch.zeros_like(each.points).index_copy(0, each.seen, each.image) for each in logits])
    points = torch.cat([each.points for each in logits])
    seen = torch.cat([torch.zeros(len(each.points), dtype=torch.bool).index_fill(0, each.seen, 1) for each in logits])
    truth = torch.from_numpy(np.concatenate(labels).astype(np.int64))
    groups = []
    for mask in (seen, ~seen):
        rows = torch.nonzero(mask & (truth != IGNORE)).flatten()
        rows = rows[:: -(-len(rows) // _MAX_POINTS) or 1]
        groups.append(_Group(image[rows].float(), points[rows].float(), truth[rows]))
    return groups
