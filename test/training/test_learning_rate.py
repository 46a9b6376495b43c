import numpy as np
import pytest

from sam_adapt_ros.training.learning_rate import milestones, one_cycle, warm_up_cosine


def test_milestones_divide_by_ten() -> None:
    np.testing.assert_allclose([milestones(i, 100) for i in (0, 79, 80, 89, 90, 99)], [1, 1, 0.1, 0.1, 0.01, 0.01])
    np.testing.assert_allclose([milestones(i, 30, (25 / 30,)) for i in (24, 25)], [1, 0.1])


def test_one_cycle_rises_and_falls() -> None:
    rates = [one_cycle(i, 100) for i in range(100)]
    assert max(rates) == rates[30] == pytest.approx(1)
    assert (np.diff(rates[:31]) > 0).all() and (np.diff(rates[30:]) < 0).all()


def test_warm_up_rises_by_equal_steps_and_falls_to_a_twentieth() -> None:
    rates = [warm_up_cosine(i, 100) for i in range(101)]
    np.testing.assert_allclose(np.diff(rates[:11]), 1 / 11)
    assert max(rates) == rates[10] == 1
    assert (np.diff(rates[10:]) < 0).all() and rates[-1] == pytest.approx(0.05)


@pytest.mark.parametrize("schedule", [milestones, one_cycle, warm_up_cosine])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_rate_at_every_step(schedule, steps: int) -> None:
    assert all(0 < schedule(step, steps) <= 1 for step in range(steps))
