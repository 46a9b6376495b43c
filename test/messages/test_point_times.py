"""Fields of times as drivers have them."""

from __future__ import annotations

import numpy as np
import pytest

from sam_adapt_ros.messages.point_times import seconds_after_stamp, time_field

STAMP = 1_532_402_927_123_456_789
SPREAD = np.linspace(0, 0.1, 500)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((SPREAD * 1e9).astype(np.uint32), SPREAD),  # Ouster: ns since the stamp
        ((SPREAD - 0.1).astype(np.float32), SPREAD - 0.1),  # Velodyne: s, the stamp is the end's
        (STAMP * 1e-9 + SPREAD, SPREAD),  # Hesai, RoboSense: s since 1970
        (STAMP + SPREAD * 1e9, SPREAD),  # Livox: ns since 1970, as float64
        ((SPREAD * 1e6).astype(np.uint32), SPREAD),  # µs
        ((SPREAD * 1e3).astype(np.float32), SPREAD),  # ms
        (STAMP * 1e-3 - SPREAD * 1e6, -SPREAD),
        ((SPREAD / 10 * 1e9).astype(np.uint32), SPREAD / 10),  # 100 Hz
        ((SPREAD * 10).astype(np.float32), SPREAD * 10),  # 1 Hz
    ],
)
def test_unit_and_zero_are_found(times: np.ndarray, expected: np.ndarray) -> None:
    found = seconds_after_stamp(times, STAMP)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "times",
    [
        np.zeros(50),
        np.full(50, STAMP * 1e-9),
        np.full(50, np.nan),
        np.zeros(0),
        SPREAD + 5000.0,  # since the driver's start
        STAMP * 1e-9 + SPREAD + 3600,  # another clock
        SPREAD * 1e-4,
        np.linspace(0, 1700, 50),
    ],
)
def test_what_tells_no_times_is_refused(times: np.ndarray) -> None:
    assert seconds_after_stamp(times, STAMP) is None


def test_single_points_without_a_time_do_not_count() -> None:
    times = STAMP * 1e-9 + SPREAD
    times[[3, 40]] = 0.0, np.inf
    found = seconds_after_stamp(times, STAMP)
    assert np.isnan(found[[3, 40]]).all()
    np.testing.assert_allclose(np.delete(found, [3, 40]), np.delete(SPREAD, [3, 40]), atol=1e-6)


def test_the_field_is_found_by_its_name() -> None:
    column = np.zeros(3)
    assert time_field({"x": column, "timestamp": column}) == "timestamp"
    assert time_field({"intensity": column}) is None
    assert time_field({"t": np.zeros((3, 2))}) is None
