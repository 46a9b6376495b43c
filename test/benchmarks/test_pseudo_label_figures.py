import sys

import numpy as np
import pytest

from sam_adapt_ros.benchmarks import pseudo_labels as figures
from sam_adapt_ros.benchmarks.front_view import front_view
from sam_adapt_ros.benchmarks.street import street


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_extra_memory_is_bounded():
    assert 0 < figures.peak_memory(21_000, 200) < 64


def test_time_grows_with_the_points_not_with_their_square():
    small, large = (figures.time_enhance(street(size, 50), 5) for size in (2_000, 20_000))
    assert large < 30 * small


def test_the_street_is_repeatable_and_as_large_as_asked():
    first, second = street(1000, 40, seed=4), street(1000, 40, seed=4)
    assert first.points.shape == (1000, 3) and first.membership.shape == (40, 1000)
    for name in ("points", "labels", "truth", "membership", "areas"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert 0.5 < (first.labels != 255).mean() < 0.7


def test_the_front_view_is_repeatable_and_its_masks_are_mixed():
    first, second = front_view(2000, 40, seed=1), front_view(2000, 40, seed=1)
    for name in ("points", "labels", "truth", "membership", "areas"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.points.shape == (2000, 3) and first.membership.shape == (40, 2000)
    assert np.abs(np.degrees(np.arctan2(first.points[:, 1], first.points[:, 0]))).max() <= 45.1
    sizes = first.membership.sum(1)
    assert sizes.max() > 500 and np.median(sizes) < 100
    assert 0.4 < (first.labels != 255).mean() < 0.5


def test_the_plot_is_written(tmp_path):
    figures._plot({1000: 1.0, 3000: 3.5}, {50: 2.0, 100: 4.0}, tmp_path / "deep" / "scaling.png")
    assert (tmp_path / "deep" / "scaling.png").stat().st_size > 1000
