"""One step of gradient descent, the same for supervised training and for self-training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sam_adapt_ros.training.ranks import ONE_PROCESS, Ranks

LossTerms = Mapping[str, Tensor]
"""The terms of a loss by name, as scalars that gradients flow through."""


def parameter_groups(network: nn.Module, pretrained: Sequence[Tensor], rate: float) -> list[dict[str, Any]]:
    """The network's parameters for an optimizer; those that are pretrained learn at ``rate``, relative to the others:
    what they have learned from real images is to be kept."""
    known = set(map(id, pretrained))
    groups: list[dict[str, Any]] = [{"params": [each for each in network.parameters() if id(each) not in known]}]
    if pretrained:
        groups.append({"params": list(pretrained), "rate_factor": rate})
    return groups


def train_step(
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    seed: int,
    step: int,
    *compute_loss: Callable[[], tuple[Tensor, LossTerms]],
    ranks: Ranks = ONE_PROCESS,
) -> dict[str, float]:
    """Minimizes a sum of losses by one step of the optimizer; returns the values of their terms.

    Args:
        seed, step: of the training run, and the step's number in it. Random layers depend on these two alone, so that
            a resumed run repeats, on a CPU exactly.
        compute_loss: the forward passes, each with its backward pass before the next: the total that is minimized, and
            its terms, which have names of their own.
        ranks: the processes that take the step together.
    Raises:
        FloatingPointError: a loss is not finite. No parameter was changed.
    """
    torch.manual_seed(_hash_seed(seed, step))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)
    optimizer.zero_grad(set_to_none=True)
    values: dict[str, Tensor] = {}
    for compute in compute_loss:
        total, terms = compute()
        if not ranks.is_finite(total):
            raise FloatingPointError(f"step {step}: the loss is not finite")
        ranks.backward(total)
        values |= {name: term.detach() for name, term in terms.items()}
    optimizer.step()
    return ranks.mean({name: float(value) for name, value in values.items()})


def add_terms(terms: LossTerms) -> Tensor:
    """The sum of a loss's terms."""
    return torch.stack(list(terms.values())).sum()


def _hash_seed(*parts: int) -> int:
    """One 63-bit seed of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
