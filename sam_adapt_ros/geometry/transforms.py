"""Rigid transforms as (4, 4) float64 matrices. ``T_target_source`` maps coordinates in source to target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Transform = NDArray[np.float64]
Quaternion = tuple[float, float, float, float]


def make_transform(translation: Sequence[float], quaternion_xyzw: Sequence[float]) -> Transform:
    """From metres (3,) and a quaternion x y z w, which need not have unit length.

    Raises ValueError when a number is not finite or the quaternion is zero.
    """
    x, y, z, w = map(float, quaternion_xyzw)
    tx, ty, tz = map(float, translation)
    square = x * x + y * y + z * z + w * w
    if not (math.isfinite(square) and square > 1e-12 and math.isfinite(tx + ty + tz)):
        raise ValueError(f"finite translation and non-zero quaternion expected, got {tx, ty, tz} and {x, y, z, w}")
    s = 2.0 / square
    xx, yy, zz, xy, xz, yz = s * x * x, s * y * y, s * z * z, s * x * y, s * x * z, s * y * z
    wx, wy, wz = s * w * x, s * w * y, s * w * z
    return np.array(
        [
            [1 - yy - zz, xy - wz, xz + wy, tx],
            [xy + wz, 1 - xx - zz, yz - wx, ty],
            [xz - wy, yz + wx, 1 - xx - yy, tz],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def invert(T: Transform) -> Transform:
    """The inverse of a rigid transform: ``T_source_target``."""
    result = np.eye(4)
    result[:3, :3] = T[:3, :3].T
    result[:3, 3] = -(T[:3, :3].T @ T[:3, 3])
    return result


def transform_points(T: Transform, points: NDArray) -> NDArray[np.float32]:
    """(N, 3) points in source -> (N, 3) float32 in target. Non-finite rows stay non-finite."""
    return np.ascontiguousarray(transform_axes(T, points).T)


def transform_axes(T: Transform, points: NDArray) -> NDArray[np.float32]:
    """As ``transform_points``, but (3, N): one contiguous row an axis, which is what projections read.

    float32 throughout: with coordinates below 1 km the error stays under 0.2 mm.
    """
    points = np.asarray(points, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        result = T[:3, :3].astype(np.float32) @ points.T
        result += T[:3, 3:].astype(np.float32)
    return result


def quaternion_from_matrix(T: ArrayLike) -> Quaternion:
    """x y z w (w >= 0) of a (3, 3) or (4, 4) matrix's rotation (Shepperd's method)."""
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(T, np.float64)[:3, :3].tolist()
    four = (1 + a - e - i, 1 - a + e - i, 1 - a - e + i, 1 + a + e + i)  # 4 x^2, 4 y^2, 4 z^2, 4 w^2
    largest = four.index(max(four))
    if largest == 3:
        q = (h - f, c - g, d - b, four[3])
    elif largest == 0:
        q = (four[0], b + d, c + g, h - f)
    elif largest == 1:
        q = (b + d, four[1], f + h, c - g)
    else:
        q = (c + g, f + h, four[2], d - b)
    length = math.copysign(math.hypot(*q), q[3])
    return (q[0] / length, q[1] / length, q[2] / length, q[3] / length)


def interpolate(T_a: Transform, T_b: Transform, fraction: float) -> Transform:
    """Between two poses: linear translation, spherical linear rotation along the shorter way.

    fraction: 0 gives T_a, 1 gives T_b; outside [0, 1] the same motion goes on at constant speed.
    """
    qa, qb = quaternion_from_matrix(T_a), quaternion_from_matrix(T_b)
    dot = sum(p * q for p, q in zip(qa, qb, strict=True))
    if dot < 0:
        qb, dot = (-qb[0], -qb[1], -qb[2], -qb[3]), -dot
    # The angle from the chord keeps its digits where the arc cosine loses them.
    difference = math.hypot(*(p - q for p, q in zip(qa, qb, strict=True)))
    angle = 2 * math.asin(min(1.0, difference / 2))
    if angle < 1e-9:
        wa, wb = 1 - fraction, fraction
    else:
        wa, wb = math.sin((1 - fraction) * angle) / math.sin(angle), math.sin(fraction * angle) / math.sin(angle)
    translation = T_a[:3, 3] + fraction * (T_b[:3, 3] - T_a[:3, 3])
    return make_transform(translation.tolist(), [wa * p + wb * q for p, q in zip(qa, qb, strict=True)])
