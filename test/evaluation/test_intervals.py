import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from sam_adapt_ros.evaluation.intervals import Bootstrap, Estimate, student

VALUES = arrays.arrays(np.float64, st.integers(2, 12), elements=st.floats(0, 1, width=32))


@settings(max_examples=40, deadline=None)
@given(VALUES, st.floats(-1, 1, width=32))
def test_intervals_move_and_scale_with_the_values_and_hold_the_mean(values: np.ndarray, shift: float) -> None:
    bootstrap = Bootstrap(len(values), resamples=200)
    found = bootstrap.mean(values)
    assert found.value == pytest.approx(values.mean())
    assert values.min() - 1e-12 <= found.low <= found.high <= values.max() + 1e-12
    assert bootstrap.mean(2 * values + shift) == pytest.approx([2 * each + shift for each in found])
    assert Bootstrap(len(values), resamples=200).mean(values) == found  # the same draws every time


@settings(max_examples=40, deadline=None)
@given(VALUES, st.floats(0.01, 0.5))
def test_what_makes_a_drive_hard_for_all_models_cancels_out(values: np.ndarray, gain: float) -> None:
    bootstrap = Bootstrap(len(values), resamples=200)
    assert bootstrap.difference(values + gain, values) == pytest.approx((gain, gain, gain))
    assert not bootstrap.difference(values + gain, values).is_noise
    found = bootstrap.difference(values, values[::-1])
    assert found.value == pytest.approx(0, abs=1e-12) and found.is_noise


@settings(max_examples=40, deadline=None)
@given(VALUES, st.floats(-0.5, 1.5), st.floats(0.05, 0.5))
def test_the_recovered_share_is_of_the_means(source: np.ndarray, share: float, loss: float) -> None:
    losses = loss * (1 + np.arange(len(source)) / len(source))  # drives that lose more weigh more
    found = Bootstrap(len(source), resamples=200).recovered(source, source + share * losses, source + losses)
    assert found == pytest.approx((share, share, share))


def test_without_a_loss_nothing_is_recovered_and_where_it_is_uncertain_there_is_no_interval() -> None:
    bootstrap = Bootstrap(4)
    source = np.full(4, 0.7)
    assert math.isnan(bootstrap.recovered(source, source + 0.1, source).value)
    found = bootstrap.recovered(source, source + 0.1, source + np.array([0.3, -0.1, -0.1, 0.1]))
    assert found.value == pytest.approx(2.0)
    assert math.isnan(found.low) and math.isnan(found.high)


def test_the_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 80)
    half = stats.norm.ppf(0.975) * values.std() / math.sqrt(80)
    assert Bootstrap(80).mean(values).half_width == pytest.approx(half, rel=0.1)


def test_drives_of_one_model_are_less_than_drives_of_many() -> None:
    values = np.repeat([0.1, 0.5, 0.9], 3)  # three models, three drives each, which agree
    apart = Bootstrap(9).mean(values)
    together = Bootstrap(9, clusters=np.repeat([60, 61, 62], 3).tolist()).mean(values)
    assert together.half_width > 1.5 * apart.half_width
    alike = Bootstrap(9, clusters=np.repeat([60, 61, 62], 3).tolist()).mean(np.tile([0.1, 0.5, 0.9], 3))
    assert alike.half_width < together.half_width  # the models are alike, only the drives differ


def test_every_stratum_keeps_its_weight() -> None:
    values = np.repeat([0.2, 0.8], [6, 3])
    strata = ["night"] * 6 + ["new_city"] * 3
    found = Bootstrap(9, strata=strata).mean(values)
    assert found == pytest.approx((0.4, 0.4, 0.4))
    clustered = Bootstrap(9, clusters=[0, 0, 1, 1, 2, 2, 0, 1, 2], strata=strata)
    np.testing.assert_array_equal(clustered.weights[:, :6].sum(1), 6)
    np.testing.assert_array_equal(clustered.weights[:, 6:].sum(1), 3)


def test_a_value_that_is_not_known_is_left_out_of_both_sides() -> None:
    bootstrap = Bootstrap(40)
    known = np.linspace(0.4, 0.6, 40)
    partly = known + 0.01
    partly[3] = np.nan
    assert bootstrap.difference(partly, known) == pytest.approx((0.01, 0.01, 0.01))
    assert math.isnan(bootstrap.mean(np.full(40, np.nan)).value)


def test_one_drive_has_no_interval_and_proves_nothing() -> None:
    found = Bootstrap(1).difference([0.9], [0.5])
    assert found.value == pytest.approx(0.4)
    assert math.isnan(found.low) and found.is_noise


def test_a_figure_of_the_weights() -> None:
    counts = np.array([[8, 10], [1, 10], [6, 10]])  # right and all, by unit

    def ratio(weights: np.ndarray) -> np.ndarray:
        right, points = (weights @ counts).T
        return right / points

    found = Bootstrap(3).statistic(ratio)
    assert found.value == pytest.approx(0.5)
    assert 0.1 <= found.low < 0.5 < found.high <= 0.8


def test_noise_is_called_noise() -> None:
    assert Estimate(0.0123, 0.003, 0.0216).text(difference=True) == "+0.012 [+0.003, +0.022]"
    assert Estimate(0.004, -0.003, 0.01).text(difference=True) == "+0.004 [-0.003, +0.010] noise"
    assert Estimate(-0.02, -0.03, -0.01).text(difference=True) == "-0.020 [-0.030, -0.010]"
    assert Estimate(0.7123, 0.69, 0.73).text() == "0.712 [0.690, 0.730]"
    assert Estimate(0.5).text() == "0.500"
    assert Estimate(0.5).text(difference=True) == "+0.500 noise"
    assert Estimate(math.nan).text() == "–"


def test_students_interval_leaves_out_what_is_not_known() -> None:
    assert student([0.5, math.nan, 0.7]).value == pytest.approx(0.6)
    assert math.isnan(student([0.5]).low)
    assert math.isnan(student([]).value)
