"""Range-adaptive Euclidean clustering at nested scales, on a log-polar grid.

The spacing of LiDAR points grows with range, and so does the radius within which two points join a cluster (the idea of
Borges and Aldon's adaptive breakpoint detector, J. of Intelligent and Robotic Systems 40, 2004). In azimuth, logarithm
of range and slope of elevation that radius is a constant: cells of that size are hashed into a table, neighbouring
cells are connected when their centroids are within the radius, and the connected components are the clusters. The nodes
of the graph are cells, not points, so that a 64-beam sweep takes tens of milliseconds.

Near the sensor, where ``radius_per_metre`` would make the radius smaller than ``min_radius``, the latter holds along
the line of sight. Across it the radius keeps shrinking, as the spacing of the points does.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sam_adapt_ros.config import SegmentsConfig

FARTHEST = 200.0  # metres
STEEPEST = 2.0  # slopes of elevation are clipped to this; such points are almost overhead
VERTICAL_STRETCH = 2.0  # factor on the radius in height, since beams are farther apart than the points along a beam
RADIUS_IN_CELLS = 1.5  # on a surface without gaps, the centroids of touching cells are then within the radius
# 13 of the 26 neighbours, so that each pair of cells is found once.
HALF_NEIGHBOURS = [offset for offset in product((-1, 0, 1), repeat=3) if offset > (0, 0, 0)]


def cluster(
    points: NDArray[np.float32], azimuth: NDArray[np.float32], distance: NDArray[np.float32], settings: SegmentsConfig
) -> list[NDArray[np.int64]]:
    """Cluster ids of every point: one (N,) array per scale, finest first.

    The clusters of a scale are unions of clusters of the scale before.

    Args:
        points: (N, 3) float32 metres, finite.
        azimuth: (N,) radians in [-pi, pi].
        distance: (N,) horizontal range, metres.
    """
    if len(points) == 0:
        return [np.zeros(0, np.int64) for _ in range(settings.scales)]
    cells, shape = _cells(points, azimuth, distance, settings)
    # The cells contain points at the first scale, and the nodes of the scale before later: their number and the sums
    # of their coordinates.
    count: NDArray[np.floating | np.integer] = np.ones(len(points))
    sums = [points[:, 0], points[:, 1], points[:, 2] / np.float32(VERTICAL_STRETCH)]
    node_of_point = np.arange(len(points))
    edges = np.zeros((2, 0), np.int64)
    ids: list[NDArray[np.int64]] = []
    for scale in range(settings.scales):
        table, home, node = _occupied(cells, shape)
        count = np.bincount(node, count)
        sums = [np.bincount(node, each) for each in sums]
        centroids = [each / count for each in sums]
        # The edges of the finer scale are kept, so that scales are nested.
        edges = np.concatenate([node[edges], _neighbours(table, home, centroids, settings, 2**scale)], axis=1)
        graph = coo_array((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(len(count), len(count)))
        node_of_point = node[node_of_point]
        ids.append(connected_components(graph, directed=False)[1].astype(np.int64)[node_of_point])
        cells = (np.stack(np.unravel_index(home, table.shape)) - 1) // 2
        shape = tuple((size + 1) // 2 for size in shape)
    return ids


def _cells(
    points: NDArray[np.float32], azimuth: NDArray[np.float32], distance: NDArray[np.float32], settings: SegmentsConfig
) -> tuple[NDArray[np.integer], tuple[int, ...]]:
    """(3, N) cell indices of the finest scale along azimuth, log range and elevation; number of cells along each."""
    size = settings.radius_per_metre / RADIUS_IN_CELLS
    knee = settings.min_radius / settings.radius_per_metre  # nearer than this the radius no longer shrinks
    around = 2**settings.scales * int(np.pi / size / 2 ** (settings.scales - 1))  # divisible at every scale
    warped = np.where(
        distance < knee, distance / knee, 1 + np.log(np.clip(distance, knee, FARTHEST) / np.float32(knee))
    )
    slope = (points[:, 2] / np.maximum(distance, np.float32(0.1))).clip(-STEEPEST, STEEPEST) + STEEPEST
    cells = np.empty((3, len(points)), np.int32)
    cells[0] = np.minimum((azimuth + np.float32(np.pi)) * np.float32(around / (2 * np.pi)), around - 1)
    cells[1] = warped * np.float32(1 / size)
    cells[2] = slope * np.float32(1 / (size * VERTICAL_STRETCH))
    return cells, (around, int(cells[1].max()) + 1, int(cells[2].max()) + 1)


def _occupied(
    cells: NDArray[np.integer], shape: tuple[int, ...]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """The occupied cells as nodes.

    Returns:
        The grid with a border of one cell (along azimuth it wraps around) as a table of node numbers from 1, 0 = empty;
        (C,) the flat index of every node in the table; the node, from 0, of each column of ``cells``.
    """
    bordered = tuple(size + 2 for size in shape)
    place = ((cells[0].astype(np.int64) + 1) * bordered[1] + (cells[1] + 1)) * bordered[2] + (cells[2] + 1)
    occupied = np.zeros(bordered[0] * bordered[1] * bordered[2], bool)
    occupied[place] = True
    home = np.flatnonzero(occupied)
    flat = np.zeros(len(occupied), np.int32)
    flat[home] = np.arange(1, len(home) + 1, dtype=np.int32)
    table = flat.reshape(bordered)
    table[0], table[-1] = table[-2], table[1]
    return table, home, flat[place].astype(np.int64) - 1


def _neighbours(
    table: NDArray[np.int32],
    home: NDArray[np.int64],
    centroids: list[NDArray[np.float64]],
    settings: SegmentsConfig,
    factor: int,
) -> NDArray[np.int64]:
    """(2, E) pairs of neighbouring nodes whose centroids are within the radius at the range of the nearer one."""
    x, y, z = centroids
    radius = factor * np.clip(settings.radius_per_metre * np.hypot(x, y), settings.min_radius, settings.max_radius)
    flat = table.ravel()
    pairs = []
    for along_azimuth, along_range, along_slope in HALF_NEIGHBOURS:
        other = flat[home + ((along_azimuth * table.shape[1] + along_range) * table.shape[2] + along_slope)]
        first = np.flatnonzero(other)
        second = other[first].astype(np.int64) - 1
        apart = (x[first] - x[second]) ** 2 + (y[first] - y[second]) ** 2 + (z[first] - z[second]) ** 2
        joined = apart <= np.minimum(radius[first], radius[second]) ** 2
        pairs.append(np.stack([first[joined], second[joined]]))
    return np.concatenate(pairs, axis=1)
