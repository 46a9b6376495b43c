"""Learning-rate schedules: the factor of the configured learning rate at a step of a training run."""

from __future__ import annotations

import math
from collections.abc import Sequence

MILESTONES = (0.8, 0.9)
"""Shares of the steps at which the learning rate falls, as in xMUDA."""
_RISE, _START, _END = 0.3, 0.04, 1e-3  # of the one-cycle schedule: its rising share, its first and last factor
_WARM_UP, _FINAL = 0.1, 0.05  # of the warm-up schedule: its rising share, its last factor


def milestones(step: int, steps: int, shares: Sequence[float] = MILESTONES) -> float:
    """A tenth at each of the shares of the steps."""
    return 0.1 ** sum(step / steps >= share for share in shares)


def one_cycle(step: int, steps: int) -> float:
    """Up over 30 % of the steps and down over the rest, both by cosines.

    Smith, Topin: Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates, 2018.
    """
    share = step / steps
    if share < _RISE:
        return _cosine(_START, 1.0, share / _RISE)
    return _cosine(1.0, _END, (share - _RISE) / (1 - _RISE))


def warm_up_cosine(step: int, steps: int) -> float:
    """A linear rise over a tenth of the steps, then a cosine down to a twentieth.

    Loshchilov, Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017 (here without restarts).
    """
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return (step + 1) / (rise + 1)
    return _cosine(1.0, _FINAL, (step - rise) / max(1, steps - rise))


def _cosine(start: float, end: float, share: float) -> float:
    """From start to end by half a period of a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
