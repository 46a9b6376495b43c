import numpy as np
import pytest

from sam_adapt_ros.benchmarks.adaptation import Result, summarize
from sam_adapt_ros.evaluation.recovered_share import recovered


def result(seed: int, source: float, final: float, oracle: float) -> Result:
    all_points = {"source": 0.5, "final": 0.5 + 0.01 * seed}
    return Result("night", seed, source, source, final, oracle, final, all_points, {}, 1, 2)


def test_nothing_is_recovered_where_nothing_was_lost() -> None:
    assert recovered(0.5, 0.6, 0.7) == pytest.approx(0.5)
    assert np.isnan(recovered(0.7, 0.7, 0.7))


def test_a_seed_that_loses_nothing_takes_nothing_from_the_others() -> None:
    row = summarize([result(1, 0.5, 0.55, 0.6), result(2, 0.5, 0.59, 0.6), result(3, 0.6, 0.59, 0.6)])["night"]
    assert row["recovered"] == pytest.approx(0.7)
    assert row["recovered_spread"] == pytest.approx(0.2)
    assert row["recovered_of_means"] == pytest.approx((0.05 + 0.09 - 0.01) / (0.1 + 0.1))
    assert row["worst_change"] == pytest.approx(-0.01)
    assert row["worst_change_all_points"] == pytest.approx(0.01)
