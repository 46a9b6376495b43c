"""Rigid transforms as (4, 4) float64 matrices. ``T_target_source`` maps coordinates in source to target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Transform = NDArray[np.float64]

T_BODY_OPTICAL: Transform = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""(4, 4) x forward, y left, z up <- a camera's optical axes (REP 103), at one place."""
_ROUNDING = 1e-3  # of rotations in text files
_LARGEST = 1e8
"""Metres. More than twice around the Earth is garbage: it would overflow in products, and in the indices of voxels."""


def make_transform(translation: Sequence[float], quaternion_xyzw: Sequence[float]) -> Transform:
    """From a translation (3,) in metres and a quaternion x y z w, which need not have unit length.

    Raises ValueError when a number is not finite or of no vehicle on Earth, or the quaternion is zero.
    """
    x, y, z = translation
    numbers = np.array([x, y, z, *quaternion_xyzw], np.float64)
    usable = bool(np.isfinite(numbers).all()) and np.abs(numbers).max() <= _LARGEST
    if not usable or np.linalg.norm(numbers[3:]) < 1e-6:
        raise ValueError(
            f"finite translation and non-zero quaternion expected, got {translation} and {quaternion_xyzw}"
        )
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(numbers[3:]).as_matrix()
    T[:3, 3] = numbers[:3]
    return T


def invert(T: Transform) -> Transform:
    """The inverse of a rigid transform: ``T_source_target``."""
    result = np.eye(4)
    result[:3, :3] = T[:3, :3].T
    result[:3, 3] = -(T[:3, :3].T @ T[:3, 3])
    return result


def transform_points(T: Transform, points: NDArray) -> NDArray[np.float32]:
    """(N, 3) points in source -> (N, 3) float32 in target. Non-finite rows stay non-finite."""
    return np.ascontiguousarray(transform_axes(T, points).T)


def rotate_points(T: Transform, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 3) points along the axes of ``T``'s target, about their own origin; the same array where the axes agree."""
    if np.array_equal(T[:3, :3], np.eye(3)):
        return points
    turn = np.eye(4)
    turn[:3, :3] = T[:3, :3]
    return transform_points(turn, points)


def transform_axes(T: Transform, points: NDArray) -> NDArray[np.float32]:
    """As ``transform_points``, but (3, N): one contiguous row an axis, which is what projections read.

    float32 throughout: with coordinates below 1 km the error stays under 0.2 mm.
    """
    points = np.asarray(points, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        result = T[:3, :3].astype(np.float32) @ points.T
        result += T[:3, 3:].astype(np.float32)
    return result


def quaternion_from_matrix(T: ArrayLike) -> list[float]:
    """The quaternion x y z w, with w >= 0, of the rotation in a (3, 3) or (4, 4) matrix.

    A matrix that is not quite a rotation, as text files round it, gives the nearest one's.
    """
    quaternion = Rotation.from_matrix(np.asarray(T, np.float64)[:3, :3]).as_quat()
    return (quaternion if quaternion[3] >= 0 else -quaternion).tolist()


def is_rotation(R: NDArray) -> bool:
    """Whether a (3, 3) matrix is a rotation, up to what rounding in text files does to one."""
    if not np.isfinite(R).all() or np.abs(R).max() > 1 + _ROUNDING:
        return False
    return bool(np.abs(R @ R.T - np.eye(3)).max() < _ROUNDING and np.linalg.det(R) > 0)


def interpolate(T_a: Transform, T_b: Transform, fraction: float) -> Transform:
    """Between two poses: linear in translation, spherical linear (slerp) in rotation, along the shorter way.

    fraction: 0 gives T_a, 1 gives T_b; outside [0, 1] the same motion goes on at constant velocity.
    """
    turn = Rotation.from_matrix(T_a[:3, :3].T @ T_b[:3, :3]).as_rotvec()
    T = np.eye(4)
    T[:3, :3] = T_a[:3, :3] @ Rotation.from_rotvec(fraction * turn).as_matrix()
    T[:3, 3] = T_a[:3, 3] + fraction * (T_b[:3, 3] - T_a[:3, 3])
    return T
