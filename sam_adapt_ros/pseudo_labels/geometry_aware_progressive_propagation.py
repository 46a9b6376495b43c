"""Mask label assignment (MLA) and geometry-aware progressive propagation (GAPP), compiled by Numba.

``propagation_reference`` states both as the paper does; here they are computed to the same last bit. With
f(n) = clip(radius_per_metre * r_n, min_radius, max_radius), the radius rho(n, s) of the definition is min(f(n), f(s)).

What makes it fast: the frame's points are split once into *cliques*, of which any two points are within rho of each
other whatever the mask. In a mask, a seed takes its clique along. Only cliques without a seed are left; they are
compared, point by point, with the mask's cliques whose bounding boxes are within reach.

Bounding boxes need no tolerance: differences, squares, sums and roots are rounded monotonically, so what is computed
from the sides of boxes is never on the wrong side of what is computed from points inside.

All compiled functions are in this file, because Numba's cache notices changes of a function's own file only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.io.compiled import compiled

_MORTON_CELLS = 2**20 - 1  # along an axis


class Cliques(NamedTuple):
    """The points of a frame in C groups of which any two points are within rho of each other.

    order: (N,) point indices, clique by clique. start: (C + 1,) where each clique begins in ``order``.
    of_point: (N,) each point's clique. f: (N,) metres.
    bounds: (C, 7) the least x, y, z, the largest x, y, z and the largest f of each clique.
    blocks: (B, 7) the same of ``step`` cliques each.
    """

    order: NDArray[np.int64]
    start: NDArray[np.int64]
    of_point: NDArray[np.int64]
    f: NDArray[np.float64]
    bounds: NDArray[np.float64]
    blocks: NDArray[np.float64]
    step: int


def find_cliques(points: NDArray[np.float32], radius_per_metre: float, min_radius: float, max_radius: float) -> Cliques:
    """points: (N, 3) metres, finite, LiDAR frame. Infinite radii make one clique."""
    order = np.argsort(_morton_codes(points))
    start, of_point, f, bounds = _split(points, order, radius_per_metre, min_radius, max_radius)
    return Cliques(order, start, of_point, f, bounds, *_blocks(bounds))


def pack(membership: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(M, N) -> (M, N / 64) words, the lowest bit first."""
    words = np.zeros((len(membership), math.ceil(membership.shape[1] / 64)), "<u8")
    packed = np.packbits(membership, axis=1, bitorder="little")
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    return words


@compiled
def assign_and_propagate(
    points, cliques, membership, visits, labels, min_points, min_purity, min_representativity, relabel, propagate
):
    """MLA and GAPP over the masks of a frame; changes ``labels``.

    points: (N, 3) float32. membership: what ``pack`` returns. visits: (M,) masks in the order of the visits.
    labels: (N,) uint8. propagate: otherwise nobody joins.
    Returns (M, 6): the mask's class, or -1, -2, -3 for the constraint that it fails (size, purity, representativity);
    its points; those with a label before and after; those with the most frequent label before and after.
    """
    records = np.empty((len(membership), 6), np.int64)
    buffer = np.empty(64 * membership.shape[1], np.int64)
    count = len(cliques.bounds)
    seeded, waiting = np.full(count, -1), np.full(count, -1)  # the mask in which a clique holds a seed, waits for one
    candidate = np.full(len(labels), -1)  # the mask of which a point has the label or may get it
    for mask in visits:
        members = _members(membership[mask], buffer)
        record = records[mask]
        _assign(members, labels, min_points, min_purity, min_representativity, record)
        nobody_left = record[1] == (record[4] if relabel else record[2])
        if record[0] < 0 or nobody_left or not propagate:
            continue
        pending = _take_cliques_along(cliques.of_point, mask, members, labels, relabel, record, seeded, waiting)
        if len(pending):
            for n in members:
                if labels[n] == record[0] or labels[n] == IGNORE or relabel:
                    candidate[n] = mask
            _grow(points, cliques, mask, pending, candidate, labels, record, seeded, waiting)
    return records


@njit
def _members(words, buffer):
    """The indices of the bits that are set."""
    count = 0
    for word in range(len(words)):
        bits, n = words[word], 64 * word
        while bits:
            if bits & 255:
                for bit in range(8):
                    buffer[count] = n + bit
                    count += np.int64(bits >> np.uint64(bit)) & 1
            bits >>= np.uint64(8)
            n += 8
    return buffer[:count]


@njit
def _assign(members, labels, min_points, min_purity, min_representativity, record):
    """Mask label assignment; fills in the record as if nobody joined."""
    votes = np.zeros(IGNORE + 1, np.int64)
    for n in members:
        votes[labels[n]] += 1
    labelled = len(members) - votes[IGNORE]
    winner = votes[:IGNORE].argmax()  # of equals the first, that is the lower id
    agreeing = votes[winner]
    record[:] = (winner, len(members), labelled, labelled, agreeing, agreeing)
    if labelled < min_points:
        record[0] = -1
    elif agreeing / labelled < min_purity:
        record[0] = -2
    elif labelled / len(members) < min_representativity:
        record[0] = -3


@njit
def _take_cliques_along(clique_of_point, mask, members, labels, relabel, record, seeded, waiting):
    """Who may join and shares a clique with a seed joins; returns the cliques of the others, marked as waiting."""
    for n in members:
        if labels[n] == record[0]:
            seeded[clique_of_point[n]] = mask
    pending = np.empty(len(members), np.int64)
    count = 0
    for n in members:
        if labels[n] != record[0] and (labels[n] == IGNORE or relabel):
            clique = clique_of_point[n]
            if seeded[clique] == mask:
                _join(n, labels, record)
            elif waiting[clique] != mask:
                waiting[clique] = mask
                pending[count] = clique
                count += 1
    return pending[:count]


@njit
def _join(n, labels, record):
    """Point n gets the mask's label."""
    record[3] += labels[n] == IGNORE
    record[5] += 1
    labels[n] = record[0]


@njit
def _grow(points, cliques, mask, pending, candidate, labels, record, seeded, waiting):
    """Breadth first from each pending clique until it is connected to a seeded one, or its component ends."""
    component = np.empty(len(pending), np.int64)
    for first in pending:
        if waiting[first] != mask:
            continue  # belongs to an earlier component
        waiting[first] = -1
        component[0] = first
        size, visited, joins = 1, 0, False
        while visited < size and not joins:
            joins, size = _explore(points, cliques, mask, candidate, seeded, waiting, component, visited, size)
            visited += 1
        if joins:
            for clique in component[:size]:
                seeded[clique] = mask
                for n in cliques.order[cliques.start[clique] : cliques.start[clique + 1]]:
                    if candidate[n] == mask:
                        _join(n, labels, record)


@njit
def _explore(points, cliques, mask, candidate, seeded, waiting, component, visited, size):
    """Whether the visited clique of the component touches a seeded one; adds waiting ones that it touches meanwhile."""
    clique = component[visited]
    own_block = clique // cliques.step
    for offset in range(len(cliques.blocks)):
        block = (own_block + offset) % len(cliques.blocks)
        if not _within_reach(cliques.bounds, clique, cliques.blocks, block):
            continue
        for other in range(block * cliques.step, min((block + 1) * cliques.step, len(cliques.bounds))):
            if (
                (waiting[other] == mask or seeded[other] == mask)
                and _within_reach(cliques.bounds, clique, cliques.bounds, other)
                and _touch(points, cliques, clique, other, candidate, mask)
            ):
                if seeded[other] == mask:
                    return True, size
                waiting[other] = -1
                component[size] = other
                size += 1
    return False, size


@njit
def _touch(points, cliques, a, b, candidate, mask):
    """Whether a candidate of the one clique is within rho of one of the other."""
    for n in cliques.order[cliques.start[a] : cliques.start[a + 1]]:
        if candidate[n] == mask:
            for s in cliques.order[cliques.start[b] : cliques.start[b + 1]]:
                if candidate[s] == mask:
                    x = np.float64(points[n, 0]) - np.float64(points[s, 0])
                    y = np.float64(points[n, 1]) - np.float64(points[s, 1])
                    z = np.float64(points[n, 2]) - np.float64(points[s, 2])
                    if _length(x, y, z) <= min(cliques.f[n], cliques.f[s]):
                        return True
    return False


@njit
def _within_reach(bounds, a, others, b):
    """Whether points within bounds[a] and others[b] may be within rho of each other."""
    x = max(others[b, 0] - bounds[a, 3], bounds[a, 0] - others[b, 3], 0.0)
    y = max(others[b, 1] - bounds[a, 4], bounds[a, 1] - others[b, 4], 0.0)
    z = max(others[b, 2] - bounds[a, 5], bounds[a, 2] - others[b, 5], 0.0)
    return _length(x, y, z) <= min(bounds[a, 6], others[b, 6])


@njit
def _length(x, y, z):
    """Rounded as written: nothing is fused or reordered."""
    return math.sqrt((x * x + y * y) + z * z)


@compiled
def _morton_codes(points):
    """(N,) places on the Z-order curve through the cloud's bounding cube: close places are close points."""
    codes = np.zeros(len(points), np.int64)
    if len(points) == 0:
        return codes
    low = [np.float64(points[:, axis].min()) for axis in range(3)]
    extent = max([points[:, axis].max() - low[axis] for axis in range(3)])
    scale = _MORTON_CELLS / extent if extent > 0 else 0.0
    for n in range(len(points)):
        for axis in range(3):
            bits = np.int64((points[n, axis] - low[axis]) * scale)  # then spread to every third bit
            bits = (bits | bits << 32) & 0x1F00000000FFFF
            bits = (bits | bits << 16) & 0x1F0000FF0000FF
            bits = (bits | bits << 8) & 0x100F00F00F00F00F
            bits = (bits | bits << 4) & 0x10C30C30C30C30C3
            bits = (bits | bits << 2) & 0x1249249249249249
            codes[n] |= bits << axis
    return codes


@compiled
def _split(points, order, radius_per_metre, min_radius, max_radius):
    """Cuts the order into cliques, each as long as can be; returns start, of_point, f and bounds of ``Cliques``."""
    start, of_point = np.empty(len(order) + 1, np.int64), np.empty(len(order), np.int64)
    f, bounds = np.empty(len(order)), np.empty((len(order), 7))
    count = 0
    low, high = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    least = largest = 0.0
    for position in range(len(order)):
        n = order[position]
        point = (np.float64(points[n, 0]), np.float64(points[n, 1]), np.float64(points[n, 2]))
        f[n] = min(max(radius_per_metre * _length(*point), min_radius), max_radius)
        low = (min(low[0], point[0]), min(low[1], point[1]), min(low[2], point[2]))
        high = (max(high[0], point[0]), max(high[1], point[1]), max(high[2], point[2]))
        least, largest = min(least, f[n]), max(largest, f[n])
        if count == 0 or _length(high[0] - low[0], high[1] - low[1], high[2] - low[2]) > least:
            low = high = point
            least = largest = f[n]
            start[count] = position
            count += 1
        of_point[n] = count - 1
        bounds[count - 1] = (low[0], low[1], low[2], high[0], high[1], high[2], largest)
    start[count] = len(order)
    return start[: count + 1].copy(), of_point, f, bounds[:count].copy()


@compiled
def _blocks(bounds):
    """``Cliques.blocks`` and ``step``: about as many blocks as a block has cliques."""
    step = max(1, int(math.sqrt(len(bounds))))
    blocks = bounds[::step].copy()
    for clique in range(len(bounds)):
        block = clique // step
        for k in range(3):
            blocks[block, k] = min(blocks[block, k], bounds[clique, k])
        for k in range(3, 7):
            blocks[block, k] = max(blocks[block, k], bounds[clique, k])
    return blocks, step
