"""Which points are no measurement; and that none of real sweeps is taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam_adapt_ros.geometry.missing_returns import find_missing_returns


def sweep(count: int = 4000, seed: int = 0) -> np.ndarray:
    """Rays of 32 beams; ranges to 80 m in steps of 2 mm, as sensors measure them."""
    rng = np.random.default_rng(seed)
    azimuth, elevation = rng.uniform(-np.pi, np.pi, count), np.radians(rng.integers(-25, 7, count))
    rays = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], 1)
    return (rays * (rng.integers(1000, 40_000, count) * 0.002)[:, None]).astype(np.float32)


def moved(points: np.ndarray, length: float) -> np.ndarray:
    """The points at another range."""
    return (points * (length / np.linalg.norm(points.astype(np.float64), axis=1))[:, None]).astype(np.float32)


@pytest.mark.parametrize("share", [0.001, 0.3, 1.0])
def test_points_at_the_origin(share: float) -> None:
    points = sweep()
    missing = np.random.default_rng(1).random(len(points)) < share
    points[missing] = 0
    found = find_missing_returns(points)
    np.testing.assert_array_equal(found.rows, missing)
    assert found.constant_range == 0


@pytest.mark.parametrize("length", [120.0, 200.0, 81.3])
@pytest.mark.parametrize("share", [0.02, 0.45, 1.0])
def test_points_at_the_largest_range(share: float, length: float) -> None:
    points = sweep()
    missing = np.random.default_rng(1).random(len(points)) < share
    points[missing] = moved(points[missing], length)
    found = find_missing_returns(points)
    np.testing.assert_array_equal(found.rows, missing)
    assert found.constant_range == pytest.approx(length, rel=1e-4)


def test_an_origin_that_was_transformed() -> None:
    points = sweep()
    missing = np.random.default_rng(1).random(len(points)) < 0.2
    points[missing] = (0.9, 0.0, 1.8)
    np.testing.assert_array_equal(find_missing_returns(points).rows, missing)
    assert find_missing_returns(np.full((200, 3), 7.0, np.float32)).rows.all()


def test_nothing_is_found_in_what_was_measured() -> None:
    points = sweep()
    assert not find_missing_returns(points).rows.any()
    assert not find_missing_returns(np.repeat(points, 2, axis=0)).rows.any()  # strongest and last return the same
    assert not find_missing_returns(points[np.linalg.norm(points, axis=1) < 60]).rows.any()  # cut at a range
    points[:500] = np.nan
    points[500:600] = np.inf
    assert not find_missing_returns(points).rows.any()
    assert find_missing_returns(np.empty((0, 3), np.float32)).rows.shape == (0,)
    assert not find_missing_returns(sweep(5)).rows.any()


def test_a_ring_on_level_ground_is_a_measurement() -> None:
    """Without noise, each beam of a level sensor draws a circle of constant range; the uppermost one the largest."""
    azimuth = np.linspace(-np.pi, np.pi, 1000, endpoint=False)
    rings = []
    for degrees in (20, 10, 5, 2):
        distance = 1.8 / np.tan(np.radians(degrees))
        rings.append(np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), np.full(1000, -1.8)], 1))
    assert not find_missing_returns(np.concatenate(rings).astype(np.float32)).rows.any()


def test_real_sweeps_are_measured(real_data: Path) -> None:
    files = [
        *(real_data / "kitti_raw").glob("**/velodyne_points/data/*.bin"),
        *(real_data / "semantickitti").glob("**/velodyne/000000.bin"),
        *(real_data / "nuscenes_keyframe").glob("**/LIDAR_TOP/*.bin"),
    ]
    assert len(files) > 15
    for file in files:
        width = 5 if "nuscenes" in str(file) else 4
        points = np.fromfile(file, np.float32).reshape(-1, width)[:, :3]
        assert not find_missing_returns(points).rows.any(), file
