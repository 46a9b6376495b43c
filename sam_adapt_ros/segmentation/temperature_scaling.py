"""How much each branch's word counts where both are heard: temperatures, folded into the branches' classifiers.

A network trained long is surer than it is right, and in a domain it has not seen one branch more so than the other. By
a product of experts the surer one wins. Scaling a branch's logits (Guo et al., On Calibration of Modern Neural
Networks, ICML 2017) leaves its own classes as they are and makes the product a weighted one (a logarithmic opinion
pool: Heskes, Selecting Weighting Factors in Logarithmic Opinion Pools, NIPS 1997).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.network import Network, State

_FEWEST_POINTS, _MOST_POINTS = 100, 50_000  # two numbers do not take more to know
_WIDEST = math.log(20.0)  # a branch is never silenced, nor made a dictator
_CLASSIFIER = "{branch}.heads.classify."


class Scales(NamedTuple):
    """What the branches' logits are multiplied by."""

    image: float = 1.0
    points: float = 1.0


class Logits(NamedTuple):
    """Of one frame, on the CPU: image (S, C) of the points that a camera sees, points (P, C), seen (S,) int64 rows."""

    image: Tensor
    points: Tensor
    seen: Tensor


def fit_scales(logits: Sequence[Logits], labels: Sequence[NDArray[np.uint8]]) -> Scales:
    """The scales by which the product of both branches explains the labels best.

    labels: (P,) class ids by frame, 255 = not known. Minimizes the mean negative log-likelihood of the points that a
    camera sees plus that of the others, which the point branch speaks for alone. A branch of which too little is known
    keeps its scale.
    """
    known = [torch.from_numpy(row.astype(np.int64)) for row in labels]
    groups = [group for group in (_seen(logits, known), _unseen(logits, known)) if len(group.truth) >= _FEWEST_POINTS]
    if not groups:
        return Scales()
    logarithms = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithms], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scale = logarithms.clamp(-_WIDEST, _WIDEST).exp()
        total = 1e-4 * logarithms.square().sum()
        for group in groups:
            # Logits are log-probabilities up to a constant a point, which falls out: this is the product of experts.
            total = total + F.cross_entropy(scale[0] * group.image + scale[1] * group.points, group.truth)
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Scales(*logarithms.detach().clamp(-_WIDEST, _WIDEST).exp().tolist())


class _Group(NamedTuple):
    """(M, C) logits of both branches, 0 where one says nothing, and (M,) true classes."""

    image: Tensor
    points: Tensor
    truth: Tensor


def _seen(logits: Sequence[Logits], known: Sequence[Tensor]) -> _Group:
    parts = [(frame.image, frame.points[frame.seen], row[frame.seen]) for frame, row in zip(logits, known, strict=True)]
    return _group(parts)


def _unseen(logits: Sequence[Logits], known: Sequence[Tensor]) -> _Group:
    parts = []
    for frame, row in zip(logits, known, strict=True):
        unseen = torch.ones(len(row), dtype=torch.bool)
        unseen[frame.seen] = False
        points = frame.points[unseen]
        parts.append((torch.zeros_like(points), points, row[unseen]))
    return _group(parts)


def _group(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> _Group:
    """The parts in one, without the points whose class is not known."""
    if not parts:
        return _Group(torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))
    image, points, truth = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    rows = torch.nonzero(truth != IGNORE).flatten()
    rows = rows[:: -(-len(rows) // _MOST_POINTS) or 1]
    return _Group(image[rows].float(), points[rows].float(), truth[rows])


def scaled(state: Mapping[str, Tensor], scales: Scales) -> State:
    """A network's state, with the scales folded into the classifiers. The state given is left as it is."""
    result = dict(state)
    for branch, scale in scales._asdict().items():
        for name in state:
            if name.startswith(_CLASSIFIER.format(branch=branch)):
                result[name] = state[name] * scale
    return result


@torch.inference_mode()
def listen(network: Network, samples: Iterable[Sample]) -> list[Logits]:
    """What the network's branches say of each sample."""
    device = next(network.parameters()).device
    found = []
    for sample in samples:
        batch = collate([sample], network.architecture).to(device)
        output = network(batch)
        found.append(Logits(output.image.logits.float().cpu(), output.points.logits.float().cpu(), batch.seen.cpu()))
    return found
