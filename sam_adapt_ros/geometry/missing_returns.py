"""Points that are no measurement: how drivers fill the rays that met nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MIN_COUNT = 16  # points that are alike by chance are fewer
_REPEATED = 0.005  # share of the points that have the very same coordinates
_AT_LIMIT = 0.01  # share of the points at the largest range; of measured ones a handful are
_SAME_RANGE = 1e-5  # relative: coordinates in float32 leave so much of a constant range
_ELEVATIONS = 0.02  # sines; the rings that one beam draws on level ground are of constant range as well


class MissingReturns(NamedTuple):
    """rows: (N,) bool, the points that are no measurement. constant_range: metres, of those at the sensor's limit;
    0 where there are none."""

    rows: NDArray[np.bool_]
    constant_range: float


def find_missing_returns(points: NDArray[np.float32]) -> MissingReturns:
    """Finds finite points that stand for no measurement.

    Such are points at the origin; many points of the very same coordinates, which is what a transform makes of the
    origin; and many points at the very same range, larger than any other, in directions of different elevation.

    points: (N, 3) as the sensor's driver publishes them.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        x, y, z = np.asarray(points, np.float32).T
        squares = x * x + y * y + z * z
    rows = squares == 0
    measured = np.sort(squares[np.isfinite(squares) & ~rows])
    if len(measured) < _MIN_COUNT:
        return MissingReturns(rows, 0.0)
    starts = np.flatnonzero(np.r_[True, measured[1:] != measured[:-1]])
    lengths = np.diff(np.r_[starts, len(measured)])
    longest = int(lengths.argmax())
    if lengths[longest] >= max(_MIN_COUNT, _REPEATED * len(points)):
        alike = np.flatnonzero(squares == measured[starts[longest]])
        same = (points[alike] == points[alike[len(alike) // 2]]).all(1)
        if same.sum() >= max(_MIN_COUNT, _REPEATED * len(points)):
            rows[alike[same]] = True
    farthest = np.flatnonzero((squares >= measured[-1] * (1 - 2 * _SAME_RANGE)) & (squares <= measured[-1]))
    if len(farthest) >= max(_MIN_COUNT, _AT_LIMIT * len(points)):
        limit = float(np.sqrt(measured[-1]))
        if np.ptp(z[farthest]) >= _ELEVATIONS * limit:
            rows[farthest] = True
            return MissingReturns(rows, limit)
    return MissingReturns(rows, 0.0)
