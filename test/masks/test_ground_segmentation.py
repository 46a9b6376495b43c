"""Ground on synthetic scenes whose ground is known exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.masks.ground_segmentation import ground_height, is_ground


def sweep(surface, beams=64, lowest=-24.0, highest=2.0, seed=0):
    """Points where beams from the origin meet z = surface(x, y): (N, 3) float32; found by walking along each beam."""
    elevation = np.radians(np.linspace(lowest, highest, beams))
    azimuth = np.radians(np.arange(0, 360, 0.8))
    slope, angle = (grid.ravel() for grid in np.meshgrid(np.tan(elevation), azimuth))
    hit = np.zeros(len(slope))
    for distance in np.arange(2.0, 70.0, 0.2):
        below = distance * slope <= surface(distance * np.cos(angle), distance * np.sin(angle))
        hit[(hit == 0) & below] = distance
    hit, slope, angle = hit[hit > 0], slope[hit > 0], angle[hit > 0]
    x, y = hit * np.cos(angle), hit * np.sin(angle)
    noise = np.random.default_rng(seed).normal(0, 0.02, len(x))
    return np.column_stack([x, y, surface(x, y) + noise]).astype(np.float32)


def box(center, size, base, seed=0):
    """Points on the walls of a box that stands at ``base``, from 0.4 m up."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (600, 3))
    axis = rng.integers(0, 2, 600)
    points[np.arange(600), axis] = np.sign(points[np.arange(600), axis]) * 0.5
    points = points * size + center
    points[:, 2] = base + 0.4 + (points[:, 2] - center[2] + size[2] / 2) / size[2] * (size[2] - 0.4)
    return points.astype(np.float32)


def on_ground(points):
    azimuth, distance = np.arctan2(points[:, 1], points[:, 0]), np.hypot(points[:, 0], points[:, 1])
    return is_ground(ground_height(points, azimuth, distance), distance)


SURFACES = {
    "flat": lambda x, y: np.full_like(x, -1.8),
    "tilted 5 degrees": lambda x, y: -1.8 + 0.0875 * x,
    "hill ahead": lambda x, y: -1.8 + np.clip(x - 15, 0, None) * 0.08,
    "dip ahead": lambda x, y: -1.8 - np.clip(x - 10, 0, 15) * 0.08,
    "crowned": lambda x, y: -1.8 - 0.03 * np.abs(y),
    "kerbs": lambda x, y: -1.8 + 0.15 * (np.abs(y) > 5),
}


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("beams", [64, 32])
def test_ground_is_found_and_what_stands_on_it_is_not(name, beams):
    surface = SURFACES[name]
    ground = sweep(surface, beams, lowest=-30 if beams == 32 else -24)
    bodies = []
    for number, (x, y) in enumerate([(8, 3), (15, -4), (30, 6), (-12, 0), (-25, -9)]):
        base = float(surface(np.array([float(x)]), np.array([float(y)]))[0])
        bodies.append(box(np.array([x, y, 0.0]), np.array([4.0, 1.8, 1.6]), base, number))
    points = np.concatenate([ground, *bodies])
    found = on_ground(points)
    assert found[: len(ground)].mean() > 0.97
    assert found[len(ground) :].mean() < 0.03


def test_returns_from_below_the_road_do_not_hide_it():
    ground = sweep(SURFACES["flat"])
    rng = np.random.default_rng(0)
    ghosts = ground[rng.integers(0, len(ground), 300)] * np.float32(1.0)
    ghosts[:, 2] -= rng.uniform(4, 15, 300).astype(np.float32)
    found = on_ground(np.concatenate([ground, ghosts]))
    assert found[: len(ground)].mean() > 0.97


def test_a_roof_that_no_slope_leads_to_is_not_ground():
    ground = sweep(SURFACES["flat"])
    ground = ground[np.hypot(ground[:, 0], ground[:, 1]) < 30]
    angle = np.random.default_rng(0).uniform(-0.3, 0.3, 500)
    distance = np.random.default_rng(1).uniform(35, 45, 500)
    roof = np.column_stack([distance * np.cos(angle), distance * np.sin(angle), np.full(500, 3.0)]).astype(np.float32)
    assert not on_ground(np.concatenate([ground, roof]))[len(ground) :].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 1000), st.sampled_from([0.01, 1.0, 60.0, 1e4]))
def test_any_points_give_finite_heights(count, seed, extent):
    points = np.random.default_rng(seed).uniform(-extent, extent, (count, 3)).astype(np.float32)
    azimuth, distance = np.arctan2(points[:, 1], points[:, 0]), np.hypot(points[:, 0], points[:, 1])
    height = ground_height(points, azimuth, distance)
    assert height.shape == (count,)
    assert np.isfinite(height).all()
