"""Ground segmentation of a sweep, from the points alone.

A base plane is fitted to the lowest points around the vehicle by RANSAC (Fischler and Bolles, 1981). On a polar grid,
as in Himmelsbach et al.: Fast Segmentation of 3D Point Clouds for Ground Vehicles (IV 2010), the ground's height above
the plane is then followed from the vehicle outwards, ring by ring. Hills, dips and kerbs far from the plane are
therefore ground, and roofs, which no gentle slope leads to, are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SECTORS = 180
NEAREST = 1.5  # metres; nearer returns are from the vehicle itself
FARTHEST = 200.0  # metres
RING_GROWTH = 0.07  # depth of a ring per metre of range ...
RING_MIN = 0.75  # ... and at least this, metres
PLANE_RANGE = 25.0  # metres; the base plane is fitted to cells up to this range
PLANE_POINTS = 20_000  # points that the base plane is fitted to, at most about twice as many
PLANE_TRIPLES = 100  # RANSAC hypotheses
PLANE_TOLERANCE = 0.15  # metres between the plane and its inliers
MAX_SLOPE = 0.15  # rise over run of the ground, relative to the base plane
GROUND_TOLERANCE = 0.15  # metres above the ground that count as ground: the height of a kerb, and noise ...
GROUND_TOLERANCE_PER_METRE = 0.002  # ... that grows with range
BODY_EXTENT = 0.4  # metres in height; a cell whose points span more is not bare ground


@dataclass(frozen=True, eq=False)
class PolarGrid:
    """sector, ring: (N,) int64 of every point. edges: (R + 1,) borders of the rings, metres of horizontal range."""

    sector: NDArray[np.int64]
    ring: NDArray[np.int64]
    edges: NDArray[np.float64]

    @cached_property
    def cell(self) -> NDArray[np.int64]:
        return self.sector * (len(self.edges) - 1) + self.ring

    @property
    def shape(self) -> tuple[int, int]:
        return SECTORS, len(self.edges) - 1


def ground_height(
    points: NDArray[np.float32], azimuth: NDArray[np.float32], distance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Height of every point above the ground below it: (N,) float32 metres.

    Args:
        points: (N, 3) float32 metres, finite, z roughly up.
        azimuth: (N,) radians in [-pi, pi].
        distance: (N,) horizontal range, metres.
    """
    if len(points) == 0:
        return np.zeros(0, np.float32)
    grid = _polar_grid(azimuth, distance)
    a, b, c = _base_plane(points, distance, grid).astype(np.float32)
    x, y, z = points.T
    height = z - (a * x + b * y + c)
    # Multipath returns lie metres below the road, and would be taken for the ground of their cell.
    plausible = height > -(0.5 + MAX_SLOPE * distance)
    lowest, highest = _extent(height[plausible], grid.cell[plausible], grid.shape)
    followed = _follow(lowest, highest - lowest > BODY_EXTENT, grid.edges)
    ground = _refine(height, followed, grid)
    centers = 0.5 * (grid.edges[:-1] + grid.edges[1:])
    return (height - _interpolate(ground, centers, grid, distance)).astype(np.float32)


def is_ground(height: NDArray[np.float32], distance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) bool: whether points at these heights above the ground belong to it; points below it do."""
    return height <= GROUND_TOLERANCE + GROUND_TOLERANCE_PER_METRE * distance


def _polar_grid(azimuth: NDArray[np.float32], distance: NDArray[np.float32]) -> PolarGrid:
    edges = [0.0, NEAREST]
    while edges[-1] < FARTHEST:
        edges.append(edges[-1] + max(RING_MIN, RING_GROWTH * edges[-1]))
    borders = np.array(edges)
    # A lookup table at 0.25 m is faster than a binary search for every point.
    step = 0.25
    table = np.searchsorted(borders, np.arange(0.0, borders[-1] + step, step), side="right") - 1
    ring = table[np.minimum(distance / step, len(table) - 1).astype(np.int64)].clip(0, len(borders) - 2)
    sector = ((azimuth + np.pi) * (SECTORS / (2 * np.pi))).astype(np.int64) % SECTORS
    return PolarGrid(sector, ring, borders)


def _extent(
    height: NDArray[np.float32], cell: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(sectors, rings) lowest and highest height of each cell; inf and -inf where it has no point."""
    lowest = np.full(shape[0] * shape[1], np.inf, height.dtype)
    highest = np.full(shape[0] * shape[1], -np.inf, height.dtype)
    np.minimum.at(lowest, cell, height)
    np.maximum.at(highest, cell, height)
    return lowest.reshape(shape).astype(np.float64), highest.reshape(shape).astype(np.float64)


def _base_plane(points: NDArray[np.float32], distance: NDArray[np.float32], grid: PolarGrid) -> NDArray[np.float64]:
    """(a, b, c) of the plane z = a x + b y + c through the lowest points near the vehicle, by RANSAC over cells.

    A plane's score is the number of cells whose lowest point is on it, less those whose lowest point is below it, since
    nothing lies below the ground. The random triples are seeded, so the same points always give the same plane.
    """
    order = _lowest_rows(points[:, 2], distance, grid)
    if len(order) < 3:
        return np.array([0.0, 0.0, float(points[:, 2].min())])
    low = points[order].astype(np.float64)
    triples = np.random.default_rng(0).integers(0, len(low), (PLANE_TRIPLES, 3))
    a, b, c = low[triples[:, 0]], low[triples[:, 1]], low[triples[:, 2]]
    normals = np.cross(b - a, c - a)
    steep = np.abs(normals[:, 2]) <= 0.94 * np.linalg.norm(normals, axis=1)  # more than 20 degrees, or collinear points
    normals[steep] = (0, 0, 1)
    planes = np.column_stack([-normals[:, 0] / normals[:, 2], -normals[:, 1] / normals[:, 2], np.zeros(len(a))])
    planes[:, 2] = a[:, 2] - (planes[:, :2] * a[:, :2]).sum(axis=1)
    homogeneous = np.column_stack([low[:, :2], np.ones(len(low))])
    residuals = low[:, 2] - planes @ homogeneous.T
    score = (np.abs(residuals) < PLANE_TOLERANCE).sum(axis=1) - (residuals < -2 * PLANE_TOLERANCE).sum(axis=1)
    best = int(score.argmax())
    inliers = np.abs(residuals[best]) < PLANE_TOLERANCE
    if inliers.sum() < 10:
        return planes[best]
    return np.linalg.lstsq(homogeneous[inliers], low[inliers, 2], rcond=None)[0]


def _lowest_rows(z: NDArray[np.float32], distance: NDArray[np.float32], grid: PolarGrid) -> NDArray[np.int64]:
    """Rows of the lowest point of every cell within ``PLANE_RANGE``."""
    near = np.flatnonzero((distance > NEAREST) & (distance < PLANE_RANGE))
    near = near[:: max(len(near) // PLANE_POINTS, 1)]
    cell = grid.cell[near]
    lowest = np.full(grid.shape[0] * grid.shape[1], np.inf, z.dtype)
    np.minimum.at(lowest, cell, z[near])
    rows = near[z[near] == lowest[cell]]
    _, first = np.unique(cell[z[near] == lowest[cell]], return_index=True)
    return rows[first]


def _follow(lowest: NDArray[np.float64], upright: NDArray[np.bool_], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """(sectors, rings) height of the ground, followed outwards along each sector.

    A cell's lowest point is ground when a slope of at most ``MAX_SLOPE`` leads to it from the sector's last ground;
    otherwise the last height is kept. The points of an ``upright`` cell that begin above the ground belong to an
    object whose lower end was not hit.
    """
    centers = 0.5 * (edges[:-1] + edges[1:])
    ground = np.zeros_like(lowest)
    height = np.zeros(len(lowest))
    since = np.zeros(len(lowest))  # range of each sector's last ground, metres
    left, right = np.arange(-1, len(lowest) - 1), np.arange(1, len(lowest) + 1) % len(lowest)
    for ring in range(1, lowest.shape[1]):
        reach = 0.1 + MAX_SLOPE * (centers[ring] - since)
        rise = lowest[:, ring] - height
        found = (np.abs(rise) <= reach) & ~(upright[:, ring] & (rise > 0.1))
        height = np.where(found, lowest[:, ring], height)
        since = np.where(found, centers[ring], since)
        # The median over three sectors removes a sector that climbed onto an object.
        before, after = height[left], height[right]
        height = np.clip(height, np.minimum(before, after), np.maximum(before, after))
        ground[:, ring] = height
    ground[:, 0] = ground[:, 1]
    return ground


def _refine(height: NDArray[np.float32], followed: NDArray[np.float64], grid: PolarGrid) -> NDArray[np.float64]:
    """Mean height of each cell's points near the followed ground; lowest points are biased by slope and noise."""
    cell = grid.cell
    near = np.abs(height - followed.ravel()[cell]) < 0.3
    count = np.bincount(cell[near], minlength=followed.size)
    total = np.bincount(cell[near], height[near], followed.size)
    mean = np.where(count >= 3, total / np.maximum(count, 1), followed.ravel())
    # Objects that begin within 0.3 m raise the mean; the ground is above its lowest point by no more than noise.
    return np.minimum(mean.reshape(followed.shape), followed + 0.1)


def _interpolate(
    ground: NDArray[np.float64], centers: NDArray[np.float64], grid: PolarGrid, distance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(N,) height of the ground below every point, interpolated linearly between the rings of its sector."""
    flat = ground.astype(np.float32).ravel()
    rings = ground.shape[1]
    inner = np.clip(grid.ring - (distance < centers.astype(np.float32)[grid.ring]), 0, rings - 2)
    start, stop = centers.astype(np.float32)[inner], centers.astype(np.float32)[inner + 1]
    share = ((distance - start) / (stop - start)).clip(0, 1)
    base = grid.sector * rings + inner
    return flat[base] * (1 - share) + flat[base + 1] * share
