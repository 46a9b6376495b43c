"""Lens models on the normalized image plane: ideal (x/z, y/z) <-> distorted coordinates.

Sources: OpenCV's calib3d (``projectPoints``) for the radial-tangential models, its ``fisheye`` module (Kannala-Brandt)
for the equidistant one. Every model is used only up to the angle where its radial curve stops growing: beyond it the
polynomial turns back and would put points into the image that the camera cannot see.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.polynomial import polynomial as poly
from numpy.typing import NDArray

_MAX_SLOPE = 1e4  # tangent of the widest angle that is looked at (89.99 degrees)


class Lens(Protocol):
    """slope_limit: largest x/z (distance from the axis at depth 1) within the monotonic domain."""

    slope_limit: float

    def __init__(self, D: tuple[float, ...]) -> None: ...

    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_] | None]:
        """(N,) ideal coordinates -> distorted ones, and which lie in the monotonic domain (None: all)."""

    def undistort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """The inverse, float64; NaN where there is none."""


class Pinhole:
    """No distortion."""

    def __init__(self, D: tuple[float, ...] = ()) -> None:
        self.slope_limit = _MAX_SLOPE

    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, None]:
        return x, y, None

    def undistort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        return x, y


class Radtan:
    """plumb_bob (k1 k2 p1 p2 [k3]) and rational_polynomial (k1 k2 p1 p2 k3 k4 k5 k6)."""

    def __init__(self, D: tuple[float, ...]) -> None:
        k1, k2, self.p1, self.p2, k3, k4, k5, k6 = (*D, 0.0, 0.0, 0.0, 0.0)[:8]
        self.numerator = (1.0, k1, k2, k3)  # of the radial factor, in s = r^2
        self.denominator = (1.0, k4, k5, k6)
        self.rational = any(self.denominator[1:])
        self.slope_limit = min(_MAX_SLOPE, float(np.sqrt(self._first_turn())))

    def _first_turn(self) -> float:
        """The smallest s = r^2 where d/dr [r N(s) / Q(s)] = 0 or Q(s) = 0."""
        N, Q = np.array(self.numerator), np.array(self.denominator)
        # d/dr [r N/Q] = [(N + 2 s N') Q - 2 s N Q'] / Q^2
        slope = poly.polysub(
            poly.polymul(poly.polyadd(N, poly.polymulx(2 * poly.polyder(N))), Q),
            poly.polymulx(poly.polymul(N, 2 * poly.polyder(Q))),
        )
        return min(_smallest_positive_root(slope), _smallest_positive_root(Q))

    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
        s = x * x + y * y
        _, k1, k2, k3 = self.numerator
        radial = 1 + s * (k1 + s * (k2 + s * k3)) if k3 else 1 + s * (k1 + s * k2)
        if self.rational:
            _, k4, k5, k6 = self.denominator
            radial = radial / (1 + s * (k4 + s * (k5 + s * k6)))
        if self.p1 == 0 and self.p2 == 0:
            a, b = x * radial, y * radial
        else:
            p1, p2, xy = self.p1, self.p2, 2 * x * y
            a = x * radial + (p1 * xy + p2 * (s + 2 * x * x))
            b = y * radial + (p1 * (s + 2 * y * y) + p2 * xy)
        return a, b, s <= self.slope_limit**2

    def undistort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        return _invert(self, np.asarray(x, np.float64), np.asarray(y, np.float64))


class Equidistant:
    """Fisheye: the distance from the centre is theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8)."""

    def __init__(self, D: tuple[float, ...]) -> None:
        self.k = D
        k1, k2, k3, k4 = D
        turn = np.sqrt(_smallest_positive_root(np.array([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4])))
        self.slope_limit = min(_MAX_SLOPE, float(np.tan(min(turn, np.arctan(_MAX_SLOPE)))))

    def distort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
        k1, k2, k3, k4 = self.k
        r = np.sqrt(x * x + y * y)
        theta = np.arctan(r)
        t = theta * theta
        distorted = theta * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
        factor = np.divide(distorted, r, out=np.ones_like(r), where=r > 1e-8)
        return x * factor, y * factor, r <= self.slope_limit

    def undistort(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        return _invert(self, np.asarray(x, np.float64), np.asarray(y, np.float64))


def _smallest_positive_root(coefficients: NDArray) -> float:
    """Of a polynomial with the lowest order first; infinity when there is none."""
    coefficients = poly.polytrim(coefficients)
    if len(coefficients) < 2:
        return np.inf
    roots = poly.polyroots(coefficients)
    positive = roots.real[(np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots))) & (roots.real > 0)]
    return float(positive.min()) if len(positive) else np.inf


def _invert(lens: Radtan | Equidistant, a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    """Inverts ``lens.distort``: a first guess by table along the radius, then Newton's method in the plane."""
    angle = np.linspace(0.0, np.arctan(lens.slope_limit), 4096)
    ideal = np.tan(angle)
    ideal[-1] = lens.slope_limit
    radial = _radial(lens, ideal)
    target = np.hypot(a, b)
    reachable = target <= radial[-1] * (1 + 1e-9)
    ratio = np.divide(np.interp(target, radial, ideal), target, out=np.ones_like(target), where=target > 1e-12)
    x, y = a * ratio, b * ratio
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(12):
            fa, fb, _valid = lens.distort(x, y)
            h = 1e-6 * (1 + np.hypot(x, y))
            ax1, bx1, _valid = lens.distort(x + h, y)
            ax0, bx0, _valid = lens.distort(x - h, y)
            ay1, by1, _valid = lens.distort(x, y + h)
            ay0, by0, _valid = lens.distort(x, y - h)
            j11, j21, j12, j22 = (v / (2 * h) for v in (ax1 - ax0, bx1 - bx0, ay1 - ay0, by1 - by0))
            ea, eb = fa - a, fb - b
            determinant = j11 * j22 - j12 * j21
            x = x - (j22 * ea - j12 * eb) / determinant
            y = y - (j11 * eb - j21 * ea) / determinant
        fa, fb, valid = lens.distort(x, y)
        found = reachable & valid & (np.hypot(fa - a, fb - b) < 1e-9 * (1 + target))
    return np.where(found, x, np.nan), np.where(found, y, np.nan)


def _radial(lens: Radtan | Equidistant, r: NDArray) -> NDArray:
    """Distorted over ideal radius, the tangential part left out; made non-decreasing against rounding."""
    if isinstance(lens, Radtan):
        s = r * r
        with np.errstate(over="ignore", invalid="ignore"):
            value = r * poly.polyval(s, lens.numerator) / poly.polyval(s, lens.denominator)
    else:
        value = lens.distort(r, np.zeros_like(r))[0]
    return np.maximum.accumulate(np.nan_to_num(value, nan=np.inf, posinf=1e30))
