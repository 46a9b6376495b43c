import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.config import SegmentsConfig
from sam_adapt_ros.masks.point_clustering import cluster

CONFIG = SegmentsConfig()


def clusters_of(points, config=CONFIG):
    points = np.asarray(points, np.float32)
    return cluster(points, np.arctan2(points[:, 1], points[:, 0]), np.hypot(points[:, 0], points[:, 1]), config)


def partition(ids):
    return {frozenset(np.flatnonzero(ids == value)) for value in np.unique(ids)}


def blobs(seed, count=6, points=40, extent=40.0):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-extent, extent, (count, 3)) * (1, 1, 0.05)
    return (centers[:, None] + rng.normal(0, 0.3, (count, points, 3))).reshape(-1, 3).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_scales_are_nested_and_the_points_order_does_not_matter(seed):
    points = blobs(seed)
    fine, coarse = clusters_of(points)
    for group in partition(fine):
        assert len(set(coarse[list(group)])) == 1
    order = np.random.default_rng(seed).permutation(len(points))
    for ids, shuffled in zip((fine, coarse), clusters_of(points[order]), strict=True):
        unshuffled = np.empty_like(shuffled)
        unshuffled[order] = shuffled
        assert partition(ids) == partition(unshuffled)


def test_scales_stay_nested_where_dense_clumps_pull_centroids_apart():
    """A coarse cell's centroid may be far from the thin bridge that joins the cell to the next at the fine scale."""
    rng = np.random.default_rng(0)
    lonely = 0
    for _ in range(60):
        steps = rng.uniform(0.1, 0.45, (60, 2)) * rng.choice([-1, 1], (60, 2))
        path = np.array([20.0, 0, 0]) + np.cumsum(np.column_stack([steps, np.zeros(60)]), axis=0)
        points = np.repeat(path, rng.choice([1, 50], 60, p=[0.7, 0.3]), axis=0)
        fine, coarse = clusters_of(points)
        lonely += len(set(fine))
        assert len(np.unique(np.stack([fine, coarse]), axis=1).T) == len(np.unique(fine))
    assert lonely > 60


@settings(max_examples=40, deadline=None)
@given(st.floats(3, 60), st.floats(-np.pi, np.pi), st.floats(-1.5, 3))
def test_the_radius_grows_with_range(distance, angle, z):
    """A chain with gaps of a third of the radius is one cluster; two bodies four radii apart are two."""
    radius = np.clip(CONFIG.radius_per_metre * distance, CONFIG.min_radius, CONFIG.max_radius)
    outwards = np.array([np.cos(angle), np.sin(angle), 0])
    around = np.array([-np.sin(angle), np.cos(angle), 0])
    start = distance * outwards + (0, 0, z)
    across = CONFIG.radius_per_metre * distance  # the floor is for the line of sight: across it, density grows nearby
    for step in (min(across, radius) / 3 * around, radius / 3 * outwards):
        assert len(set(clusters_of(start + np.arange(12)[:, None] * step)[0])) == 1
    for direction in (outwards, around):
        two = np.concatenate([start + np.zeros((5, 3)), start + 4 * radius * direction + np.zeros((5, 3))])
        assert len(set(clusters_of(two)[0])) == 2


def test_a_body_behind_the_vehicle_is_not_cut_where_the_azimuth_jumps():
    y = np.linspace(-1, 1, 40)
    wall = np.column_stack([np.full(40, -10.0), y, np.zeros(40)])
    assert len(set(clusters_of(wall)[0])) == 1


def test_beams_are_bridged_in_height():
    """A 32-beam sensor's returns from a wall: 1.33 degrees between beams, a third of that along them."""
    azimuth, elevation = np.meshgrid(np.radians(np.arange(-10, 10, 0.33)), np.radians(np.arange(-5, 5, 1.33)))
    x = np.full(azimuth.size, 20.0)
    wall = np.column_stack([x, x * np.tan(azimuth.ravel()), x / np.cos(azimuth.ravel()) * np.tan(elevation.ravel())])
    assert len(set(clusters_of(wall)[0])) == 1


def test_a_coarser_scale_joins_more():
    radius = CONFIG.radius_per_metre * 20
    two = np.array([[20.0, 0, 0], [20.0, 1.6 * radius, 0]])
    fine, coarse = clusters_of(two)
    assert len(set(fine)) == 2
    assert len(set(coarse)) == 1


@pytest.mark.parametrize(
    "points", [np.zeros((0, 3)), np.zeros((1, 3)), np.full((5, 3), 1e6), np.array([[0, 0, 1e9]] * 2)]
)
@pytest.mark.parametrize("scales", [1, 2, 4])
def test_degenerate_points(points, scales):
    found = clusters_of(points, SegmentsConfig(scales=scales))
    assert [len(ids) for ids in found] == [len(points)] * scales
