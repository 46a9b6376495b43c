"""When each point of a cloud was measured: drivers name the field, its unit and its zero as they like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.geometry.poses import SECOND

TIME_FIELDS = ("t", "time", "timestamp", "time_stamp", "timeStamp", "offset_time", "time_offset")
"""Of Ouster, Velodyne, Hesai and RoboSense, Autoware, Livox and others; the first one that there is."""
_SHORTEST, _LONGEST = 0.002, 1.5
"""Seconds that a sweep lasts, of any LiDAR."""
_UNITS = (1.0, 1e-3, 1e-6, 1e-9)
"""Seconds; of a sweep's span only one is between the two."""
_NEAR_STAMP = 2.0  # seconds from the sweep's stamp that times are


def time_field(fields: Mapping[str, NDArray[Any]]) -> str | None:
    """The name of the cloud's field of times, of one number a point; None where there is none."""
    return next((name for name in TIME_FIELDS if name in fields and fields[name].ndim == 1), None)


def seconds_after_stamp(times: NDArray[Any], stamp_ns: int) -> NDArray[np.float64] | None:
    """(N,) seconds from the sweep's stamp to each point's time, of a field in s, ms, µs or ns, since the stamp or on
    the stamp's clock; NaN where it is far from all others'; None where the field does not tell (it spans no time, or
    its zero is of another clock).

    The unit is the one in which the field spans the time of a sweep.
    """
    values = times.astype(np.float64)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, (1, 99))  # a driver's zero for a point that is no measurement is no time
    unit = next((unit for unit in _UNITS if _SHORTEST <= (high - low) * unit <= _LONGEST), None)
    if unit is None:
        return None
    for zero in (0.0, stamp_ns / SECOND / unit):
        seconds = (values - zero) * unit
        if abs(float(np.median(finite - zero)) * unit) <= _NEAR_STAMP:
            margin = (high - low) / 10
            return np.where((values >= low - margin) & (values <= high + margin), seconds, np.nan)
    return None
