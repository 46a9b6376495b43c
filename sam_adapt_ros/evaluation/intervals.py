"""Figures with 95 % confidence intervals: the one place where they are computed, and where noise is called noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
NOISE = "noise"


class Estimate(NamedTuple):
    """A figure and its 95 % confidence interval; NaN where it is undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    @property
    def is_noise(self) -> bool:
        """Of a difference: whether it may as well be zero. One without an interval is no better."""
        return not (self.low > 0 or self.high < 0)

    def text(self, digits: int = 3, difference: bool = False) -> str:
        """``0.712 [0.698, 0.725]``; of a difference ``+0.012 [+0.003, +0.021]``, and whether that is noise."""
        if math.isnan(self.value):
            return "–"
        form = f"{'+' if difference else ''}.{digits}f"
        value = f"{self.value:{form}}"
        if not math.isnan(self.low):
            value += f" [{self.low:{form}}, {self.high:{form}}]"
        return f"{value} {NOISE}" if difference and self.is_noise else value


class Bootstrap:
    """Percentile intervals over units drawn with replacement (Efron: Bootstrap Methods, Annals of Statistics, 1979).

    Every figure is of the same draws, so differences are paired: what makes a drive hard for all models cancels out.
    Units of one cluster share something that was drawn once, such as the drive that a model learned from. Clusters
    are drawn first, then the units of each (Davison and Hinkley: Bootstrap Methods and their Application, 1997, 3.8):
    nine drives with three models are less than nine drives with nine. Every stratum keeps its number of clusters.

    weights: (R, U) how often each unit occurs in each draw.
    """

    def __init__(
        self,
        units: int,
        clusters: Sequence[Hashable] | None = None,
        strata: Sequence[Hashable] | None = None,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        """clusters, strata: of each unit; None: each unit is a cluster of its own, all of one stratum."""
        rng = np.random.default_rng(seed)
        members: dict[Hashable, dict[Hashable, list[int]]] = {}
        for unit in range(units):
            stratum = None if strata is None else strata[unit]
            cluster = unit if clusters is None else clusters[unit]
            members.setdefault(stratum, {}).setdefault(cluster, []).append(unit)
        self.weights: NDArray[np.int64] = np.zeros((resamples, units), np.int64)
        for by_cluster in members.values():
            groups = list(by_cluster.values())
            times = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), resamples)
            for group, drawn in zip(groups, times.T, strict=True):
                # Drawn k times, a cluster gives k times as many draws of its units.
                within = rng.multinomial(drawn * len(group), np.full(len(group), 1 / len(group)))
                self.weights[:, group] += within

    def mean(self, values: ArrayLike) -> Estimate:
        """Of (U,) values by unit; units whose value is NaN are left out."""
        return self.statistic(lambda weights: _means(weights, values))

    def difference(self, values: ArrayLike, others: ArrayLike) -> Estimate:
        """The mean of (U,) values less that of the others, unit by unit."""
        return self.mean(np.asarray(values, np.float64) - np.asarray(others, np.float64))

    def recovered(self, source: ArrayLike, final: ArrayLike, oracle: ArrayLike) -> Estimate:
        """The share of the mean loss, oracle less source, that is gained, final less source; (U,) values each.

        NaN where there is no loss; without an interval where some draws have none.
        """
        source, final, oracle = (np.asarray(each, np.float64) for each in (source, final, oracle))

        def share(weights: NDArray[np.int64]) -> NDArray[np.float64]:
            gain, loss = _means(weights, final - source), _means(weights, oracle - source)
            return np.divide(gain, loss, out=np.full(len(loss), np.nan), where=loss > 0)

        return self.statistic(share)

    def statistic(self, of: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> Estimate:
        """Of any figure. of: (R, U) weights of the units -> (R,) values; where a value is NaN there is no interval."""
        value = float(of(np.ones((1, self.weights.shape[1]), np.int64))[0])
        if math.isnan(value):
            return Estimate(math.nan)
        samples = of(self.weights)
        if np.isnan(samples).any() or self.weights.shape[1] < 2:
            return Estimate(value)
        low, high = np.percentile(samples, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
        return Estimate(value, float(low), float(high))


def student(values: Sequence[float]) -> Estimate:
    """Mean of independent values and its interval by Student's t; NaN values are left out."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return Estimate(math.nan)
    mean = float(known.mean())
    if len(known) == 1:
        return Estimate(mean)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    return Estimate(mean, mean - half, mean + half)


def _means(weights: NDArray[np.int64], values: ArrayLike) -> NDArray[np.float64]:
    """(R,) means of (U,) values by (R, U) weights; NaN where no unit that was drawn has a value."""
    given = np.asarray(values, np.float64)
    known = ~np.isnan(given)
    total, count = weights[:, known] @ given[known], weights[:, known].sum(1)
    return np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0)
