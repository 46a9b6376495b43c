"""Figures with confidence intervals from measured frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.benchmarks.ablation.measurement import Measured
from sam_adapt_ros.evaluation.intervals import Bootstrap, Estimate, student
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics

RESAMPLES = 300

Pair = tuple[Measured, Measured]
"""Statistics of a variant and of selection alone, over the same frames."""
METRICS: dict[str, Callable[[Pair], float]] = {
    "coverage": lambda pair: pair[0].seen.coverage,
    "precision": lambda pair: pair[0].seen.precision,
    "recall": lambda pair: pair[0].seen.recall,
    # Relative to selection alone: the ratio of the coverages, the difference of the precisions.
    "coverage_gain": lambda pair: _divide(pair[0].seen.coverage, pair[1].seen.coverage),
    "precision_change": lambda pair: pair[0].seen.precision - pair[1].seen.precision,
    "parallax_precision": lambda pair: math.nan if pair[0].parallax is None else pair[0].parallax.precision,
}


def estimates(drives: Sequence[Sequence[Measured]], baseline: Sequence[Sequence[Measured]]) -> dict[str, Estimate]:
    """The estimates of ``METRICS``, by name.

    Of several drives, the mean over drives with equal weight, and an interval by Student's t. Of a single drive, its
    value, and an interval by bootstrap over its frames, which does not cover the variation between drives.

    Args:
        drives: a variant's frames, by drive.
        baseline: the same frames with selection alone.
    """
    if len(drives) == 1 and len(drives[0]) > 1:
        bootstrap = Bootstrap(len(drives[0]), resamples=RESAMPLES)

        def measured(metric: Callable[[Pair], float], draws: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.array([metric((_weighted(drives[0], each), _weighted(baseline[0], each))) for each in draws])

        return {name: bootstrap.statistic(partial(measured, metric)) for name, metric in METRICS.items()}
    totals = [(total(mine), total(theirs)) for mine, theirs in zip(drives, baseline, strict=True)]
    return {name: student([metric(pair) for pair in totals]) for name, metric in METRICS.items()}


def total(frames: Sequence[Measured]) -> Measured:
    """The summed counts of all frames."""
    return _weighted(frames, np.ones(len(frames), np.int64))


def _weighted(frames: Sequence[Measured], weights: NDArray[np.int64]) -> Measured:
    seen = _sum([frame.seen for frame in frames], weights)
    known = [
        (frame.parallax, weight) for frame, weight in zip(frames, weights, strict=True) if frame.parallax is not None
    ]
    parallax = _sum([part for part, _ in known], np.array([weight for _, weight in known])) if known else None
    return Measured(seen, parallax)


def _sum(parts: Sequence[LabelStatistics], weights: NDArray[np.int64]) -> LabelStatistics:
    result = LabelStatistics(len(parts[0].labelled))
    result.points = int(np.dot(weights, [part.points for part in parts]))
    result.labelled = np.tensordot(weights, np.stack([part.labelled for part in parts]), 1)
    result.confusion.counts = np.tensordot(weights, np.stack([part.confusion.counts for part in parts]), 1)
    return result


def _divide(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
