"""Lens distortion on the normalized image plane: ideal coordinates (x/z, y/z) <-> distorted ones.

``plumb_bob``: radial and tangential terms (Conrady, 1919; Brown, "Decentering Distortion of Lenses", 1966).
``rational_polynomial``: OpenCV's extension of it by a denominator.
``equidistant``: Kannala and Brandt, "A generic camera model and calibration method for conventional, wide-angle, and
fish-eye lenses", TPAMI 2006.
Formulas and order of coefficients are those of OpenCV's ``projectPoints`` and ``fisheye::projectPoints``.

A model holds up to the angle where its distorted radius stops growing: beyond it the polynomial turns back and would
put points into the image that the camera cannot see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.polynomial import polynomial as poly
from numpy.typing import NDArray

_MAX_SLOPE = 1e4  # tangent of the widest angle from the optical axis that is considered (89.99 degrees)
_TABLE_SIZE = 4096
_NEWTON_STEPS = 12
_NOTHING = 1e-60  # a coefficient that changes nothing at any angle, and by which roots cannot be divided


class DistortionModel(ABC):
    """slope_limit: largest distance from the optical axis at depth 1 up to which the model holds."""

    slope_limit: float

    @abstractmethod
    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_] | None]:
        """Distorted coordinates of (N,) ideal ones, and where the model holds (None: everywhere). Keeps the dtype."""

    @abstractmethod
    def radius(self, r: NDArray) -> NDArray:
        """Distorted distances from the centre of (N,) ideal ones, without tangential terms."""

    def undistort(self, a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
        """The inverse of ``distort`` on (N,) float64: NaN where nothing within the model's domain is imaged there.

        Starts from a table of ``radius`` and goes on by Newton's method with a numerical derivative.
        """
        ideal = np.tan(np.linspace(0.0, np.arctan(self.slope_limit), _TABLE_SIZE))
        ideal[-1] = self.slope_limit
        with np.errstate(over="ignore", invalid="ignore"):
            table = np.nan_to_num(self.radius(ideal), nan=np.inf, posinf=1e30)
        table = np.maximum.accumulate(table)  # non-decreasing in spite of rounding
        target = np.hypot(a, b)
        ratio = np.divide(np.interp(target, table, ideal), target, out=np.ones_like(target), where=target > 1e-12)
        x, y = a * ratio, b * ratio
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for _ in range(_NEWTON_STEPS):
                error_a, error_b = self._residual(x, y, a, b)
                h = 1e-6 * (1 + np.hypot(x, y))
                ax, bx = np.subtract(self._residual(x + h, y, a, b), self._residual(x - h, y, a, b)) / (2 * h)
                ay, by = np.subtract(self._residual(x, y + h, a, b), self._residual(x, y - h, a, b)) / (2 * h)
                determinant = ax * by - ay * bx
                x = x - (by * error_a - ay * error_b) / determinant
                y = y - (ax * error_b - bx * error_a) / determinant
            holds = self.distort(x, y)[2]
            found = np.hypot(*self._residual(x, y, a, b)) < 1e-9 * (1 + target)
            found &= (target <= table[-1] * (1 + 1e-9)) & (True if holds is None else holds)
        return np.where(found, x, np.nan), np.where(found, y, np.nan)

    def _residual(self, x: NDArray, y: NDArray, a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
        distorted_x, distorted_y, _ = self.distort(x, y)
        return distorted_x - a, distorted_y - b


class Pinhole(DistortionModel):
    """No distortion."""

    slope_limit = _MAX_SLOPE

    def __init__(self, D: tuple[float, ...] = ()) -> None:
        pass

    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, None]:
        return x, y, None

    def radius(self, r: NDArray) -> NDArray:
        return r

    def undistort(self, a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
        return a, b


class RadialTangential(DistortionModel):
    """plumb_bob (D = k1 k2 p1 p2 [k3]) and rational_polynomial (D = k1 k2 p1 p2 k3 k4 k5 k6)."""

    def __init__(self, D: tuple[float, ...]) -> None:
        k1, k2, self._p1, self._p2, k3, k4, k5, k6 = (*D, 0.0, 0.0, 0.0, 0.0)[:8]
        self._numerator = (1.0, k1, k2, k3)  # of the radial factor, in s = r^2
        self._denominator = (1.0, k4, k5, k6)
        self._rational = any(self._denominator[1:])
        self.slope_limit = min(_MAX_SLOPE, float(np.sqrt(self._first_turn())))

    def _first_turn(self) -> float:
        """The smallest s = r^2 > 0 where d/dr [r N(s) / Q(s)] = 0 or Q(s) = 0."""
        N, Q = np.array(self._numerator), np.array(self._denominator)
        # d/dr [r N/Q] = [(N + 2 s N') Q - 2 s N Q'] / Q^2
        slope = poly.polysub(
            poly.polymul(poly.polyadd(N, poly.polymulx(2 * poly.polyder(N))), Q),
            poly.polymulx(poly.polymul(N, 2 * poly.polyder(Q))),
        )
        return min(_smallest_positive_root(slope), _smallest_positive_root(Q))

    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
        s = x * x + y * y
        radial = self._radial_factor(s)
        a, b = x * radial, y * radial
        if self._p1 or self._p2:
            p1, p2, xy = self._p1, self._p2, 2 * x * y
            a += p1 * xy + p2 * (s + 2 * x * x)
            b += p1 * (s + 2 * y * y) + p2 * xy
        return a, b, s <= self.slope_limit**2

    def radius(self, r: NDArray) -> NDArray:
        return r * self._radial_factor(r * r)

    def _radial_factor(self, s: NDArray) -> NDArray:
        _, k1, k2, k3 = self._numerator
        factor = 1 + s * (k1 + s * (k2 + s * k3)) if k3 else 1 + s * (k1 + s * k2)
        if self._rational:
            _, k4, k5, k6 = self._denominator
            factor = factor / (1 + s * (k4 + s * (k5 + s * k6)))
        return factor


class Equidistant(DistortionModel):
    """Fisheye (D = k1 k2 k3 k4): the radius is theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8).

    theta: the angle from the optical axis.
    """

    def __init__(self, D: tuple[float, ...]) -> None:
        self._k = k1, k2, k3, k4 = D
        turn = np.sqrt(_smallest_positive_root(np.array([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4])))
        self.slope_limit = min(_MAX_SLOPE, float(np.tan(min(turn, np.arctan(_MAX_SLOPE)))))

    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
        r = np.sqrt(x * x + y * y)
        factor = np.divide(self.radius(r), r, out=np.ones_like(r), where=r > 1e-8)
        return x * factor, y * factor, r <= self.slope_limit

    def radius(self, r: NDArray) -> NDArray:
        k1, k2, k3, k4 = self._k
        theta = np.arctan(r)
        t = theta * theta
        return theta * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4))))


def _smallest_positive_root(coefficients: NDArray) -> float:
    """Of a polynomial with the lowest order first; infinity when there is none."""
    coefficients = poly.polytrim(coefficients, tol=_NOTHING)
    if len(coefficients) < 2:
        return np.inf
    roots = poly.polyroots(coefficients)
    positive = roots.real[(np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots))) & (roots.real > 0)]
    return float(positive.min()) if len(positive) else np.inf
