"""Ray casting against a slow reference that tries every ray on every solid."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.simulation import raycast
from sam_adapt_ros.simulation.grids import PinholeGrid, RayGrid, SpinningGrid
from sam_adapt_ros.simulation.primitives import ModelBuilder, Primitives, Shape, Texture
from sam_adapt_ros.simulation.sensors import rotation

OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
GRIDS: dict[str, tuple[RayGrid, np.ndarray]] = {
    "camera": (PinholeGrid(60, 40, (30.0, 36.0), 29.5, 19.5), OPTICAL),
    "lidar": (SpinningGrid(np.deg2rad(np.linspace(-25, 15, 16)), 90), np.eye(3)),
}


def random_solids(seed: int, count: int = 15) -> Primitives:
    rng = np.random.default_rng(seed)
    builder = ModelBuilder(3, rng)
    for _ in range(count):
        position = rng.uniform(-12, 12, 3) * (1, 1, 0.2)
        half = rng.uniform(0.2, 3.0, 3)
        kind = rng.integers(4)
        if np.abs(position[:2]).max() < 4.5:
            position[0] += 9
        yaw = rng.uniform(0, 6)
        if kind == 0:
            builder.box(position, half, Texture.PLAIN, (0.5,) * 3, yaw=yaw)
        elif kind == 1:
            outline = np.array([(-2, -1), (2, -1), (2, 0), (0.5, 1), (-1, 1)]) * rng.uniform(0.3, 1.2)
            builder.prism(position, outline, half[1], Texture.PLAIN, (0.5,) * 3, yaw=yaw)
        else:
            shape = (Shape.CYLINDER, Shape.WHEEL, Shape.ELLIPSOID)[rng.integers(3)]
            round_axis = {Shape.CYLINDER: 1, Shape.WHEEL: 2}.get(shape)
            if round_axis:
                half[round_axis] = half[0]
            builder.add(shape, position, half, Texture.PLAIN, (0.5,) * 3, yaw=yaw)
    return builder.build()


def inside(solids: Primitives, i: int, points: np.ndarray) -> np.ndarray:
    """(N,) how far inside solid i points (N, 3) are: positive within, a definition independent of any ray."""
    cos, sin = np.cos(float(solids.yaw[i])), np.sin(float(solids.yaw[i]))
    x, y, z = (points - solids.center[i].astype(float)).T
    local = np.stack((cos * x + sin * y, cos * y - sin * x, z), 1)
    unit = local / solids.half[i].astype(float)
    if solids.shape[i] == Shape.CONVEX:
        planes = solids.planes[i].astype(float)
        return (planes[:, 3] - local @ planes[:, :3].T).min(1)
    axis = {Shape.CYLINDER: 2, Shape.WHEEL: 1}.get(Shape(int(solids.shape[i])))
    if axis is None:
        return 1 - (unit**2).sum(1)
    across = np.delete(unit, axis, axis=1)
    return np.minimum(1 - (across**2).sum(1), 1 - np.abs(unit[:, axis]))


@pytest.mark.parametrize("sensor", GRIDS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_hits_lie_on_the_surface_and_nothing_is_before_them(sensor: str, seed: int) -> None:
    grid, axes = GRIDS[sensor]
    rng = np.random.default_rng(seed)
    turn = rotation(rng.uniform(-3, 3), rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)) @ axes
    origin = rng.uniform(-0.5, 0.5, 3)
    rays = np.einsum("ij,jhw->ihw", turn, grid.directions).astype(np.float32)
    solids = random_solids(seed)
    hits = raycast.cast(grid, turn, origin, solids, rays)
    directions = rays.reshape(3, -1).T.astype(float)
    distance, primitive = hits.distance.ravel(), hits.primitive.ravel()
    assert ((primitive >= 0) == np.isfinite(distance)).all()
    for i in range(len(solids)):
        mine = primitive == i
        on = origin + directions[mine] * distance[mine, None]
        assert np.abs(inside(solids, i, on)).max(initial=0) < 2e-3
        for step in np.arange(0.0, 24, 0.5):  # march: no solid may be deep inside before the hit
            before = step < distance - 1e-3
            assert (inside(solids, i, origin + directions[before] * step) < 1e-3).all()


@pytest.mark.parametrize("sensor", GRIDS)
def test_rectangles_lose_no_hit(sensor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, axes = GRIDS[sensor]
    for seed in range(6):
        solids = random_solids(seed, 40)
        turn = rotation(seed, 0.05, -0.05) @ axes
        rays = np.einsum("ij,jhw->ihw", turn, grid.directions).astype(np.float32)
        culled = raycast.cast(grid, turn, np.zeros(3), solids, rays)
        height, width = rays.shape[1:]
        with monkeypatch.context() as patch:
            whole = np.tile((0, height, 0, width), (len(solids), 1))
            patch.setattr(type(grid), "rectangles", lambda self, corners, whole=whole: whole)
            full = raycast.cast(grid, turn, np.zeros(3), solids, rays)
        assert np.array_equal(culled.primitive, full.primitive)
        np.testing.assert_allclose(culled.distance, full.distance, rtol=1e-5)


@pytest.mark.parametrize("sensor", GRIDS)
@pytest.mark.parametrize("distance", [3.0, 70.0])  # only near solids, only far ones
def test_a_single_solid_is_found(sensor: str, distance: float) -> None:
    grid, axes = GRIDS[sensor]
    half = (1.0, distance / 4, distance / 4)
    builder = ModelBuilder(3, np.random.default_rng(0))
    solids = builder.box((distance + 1, 0, 0), half, Texture.PLAIN, (0.5,) * 3).build()
    rays = np.einsum("ij,jhw->ihw", axes, grid.directions).astype(np.float32)
    hits = raycast.cast(grid, axes, np.zeros(3), solids, rays)
    assert hits.distance.min() == pytest.approx(distance, rel=0.02)
    nothing = raycast.cast(grid, axes, np.zeros(3), solids.select(np.zeros(1, bool)), rays)
    assert (nothing.primitive == raycast.NOTHING).all() and np.isinf(nothing.distance).all()


def test_small_solids_far_away_stay_round() -> None:
    grid = PinholeGrid(101, 101, (20_000.0, 20_000.0), 50, 50)
    solids = ModelBuilder(6, np.random.default_rng(0)).add(
        Shape.ELLIPSOID, (80, 0, 0), (0.1, 0.1, 0.1), Texture.CLOTH, (0.5,) * 3
    )
    rays = np.einsum("ij,jhw->ihw", OPTICAL, grid.directions).astype(np.float32)
    hits = raycast.cast(grid, OPTICAL, np.zeros(3), solids.build(), rays)
    v, u = np.nonzero(hits.primitive >= 0)
    assert len(u) == pytest.approx(np.pi * 25**2, rel=0.02)
    assert np.hypot(u - 50, v - 50).max() < 25.5
    assert hits.distance.min() == pytest.approx(79.9, abs=2e-3)


def test_placing_turns_and_moves() -> None:
    model = ModelBuilder(5, np.random.default_rng(0)).box((1, 0, 0.5), (1, 0.5, 0.5), Texture.PLAIN, (0.5,) * 3).build()
    placed = model.placed((10, 20, 0.1), np.pi / 2, 7)
    np.testing.assert_allclose(placed.center, [[10, 21, 0.6]], atol=1e-5)
    assert placed.instance.tolist() == [7]
    assert model.center.tolist() == [[1, 0, 0.5]]
    both = Primitives.concatenate([model, placed])
    assert len(both) == 2 and all(len(getattr(both, f.name)) == 2 for f in dataclasses.fields(both))
