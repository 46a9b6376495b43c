"""Poses of a moving vehicle, and the error of a look-up that fails."""

from collections.abc import Callable

import numpy as np
import pytest

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry import make_transform
from sam_adapt_ros.geometry.transforms import Transform

SECOND = 10**9
T0 = 1_532_402_927 * SECOND  # stamps as in recordings: too long for float64


def drive(stamp_ns: int) -> Transform:
    """A vehicle that turns slowly at 8 m/s."""
    t = (stamp_ns - T0) / SECOND
    return make_transform((8 * t, 0.3 * t, 0), (0, 0, np.sin(0.1 * t), np.cos(0.1 * t)))


def failure(call: Callable[[], object]) -> CalibrationError:
    with pytest.raises(CalibrationError) as caught:
        call()
    return caught.value
