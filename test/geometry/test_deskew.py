"""Points of a moving LiDAR, against one pose a point."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sam_adapt_ros.geometry.deskew import deskew
from sam_adapt_ros.geometry.transforms import Transform, invert


def driving(after: float) -> Transform:
    """20 m/s, braking by 8 m/s^2, turning by 0.8 rad/s, pitching; in a frame far from its origin."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("ZY", (0.3 + 0.8 * after, 0.05 * np.sin(9 * after))).as_matrix()
    T[:3, 3] = (5000 + 20 * after - 4 * after**2, -2000 + 3 * after, 1.5)
    return T


def slowly(points: np.ndarray, seconds: np.ndarray, pose_at) -> np.ndarray:
    moved = [invert(pose_at(0.0)) @ pose_at(time) @ [*point, 1.0] for point, time in zip(points, seconds, strict=True)]
    return np.array(moved)[:, :3]


@pytest.mark.parametrize(("first", "last"), [(0.0, 0.1), (-0.1, 0.0), (-0.05, 0.05), (0.0, 0.003), (0.02, 1.0)])
def test_each_point_is_moved_by_its_own_pose(first: float, last: float) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (2000, 3)).astype(np.float32)
    seconds = rng.uniform(first, last, 2000)
    found = deskew(points, seconds, driving)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slowly(points.astype(np.float64), seconds, driving), atol=1e-3)
    assert np.abs(found - points).max() > 0.05


def test_what_has_no_time_or_no_place_stays() -> None:
    points = np.ones((6, 3), np.float32)
    points[1] = np.nan
    seconds = np.array([0.1, 0.1, np.nan, np.inf, 0.0, 0.1])
    found = deskew(points, seconds, driving)
    assert np.isnan(found[1]).all() and (found[[2, 3]] == 1).all()
    np.testing.assert_allclose(found[4], 1, atol=1e-6)
    np.testing.assert_allclose(found[0], slowly(points[:1], seconds[:1], driving)[0], atol=1e-3)
    for nothing in (points[:0], points[1:2]):
        assert deskew(nothing, np.zeros(len(nothing)), driving) is nothing
    assert deskew(points, np.full(6, np.nan), driving) is points


def test_all_points_at_one_time_are_moved_alike() -> None:
    points = np.random.default_rng(1).uniform(-9, 9, (5, 3)).astype(np.float32)
    found = deskew(points, np.full(5, 0.1), driving)
    np.testing.assert_allclose(found, slowly(points, np.full(5, 0.1), driving), atol=1e-3)


def test_a_lidar_that_stands_gives_the_very_same_array() -> None:
    points = np.random.default_rng(1).uniform(-9, 9, (5, 3)).astype(np.float32)
    assert deskew(points, np.linspace(0, 0.1, 5), lambda after: driving(0.0)) is points


def test_what_poses_raise_is_raised() -> None:
    def unknown(after: float) -> Transform:
        raise LookupError

    with pytest.raises(LookupError):
        deskew(np.ones((2, 3), np.float32), np.array([0.0, 0.1]), unknown)
