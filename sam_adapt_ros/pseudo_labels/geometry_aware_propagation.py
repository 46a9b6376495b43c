"""Geometry-Aware Progressive Propagation (GAPP): a mask's label spreads only along the surface it was seen on.

Within a mask, a point joins the seeds when it is within rho = clip(radius_per_metre * min(r_n, r_s), min_radius,
max_radius) of one of them; repeated until none joins. With f(n) = clip(radius_per_metre * r_n, ...), rho is
min(f(n), f(s)), which is what everything below computes with.

The result is exact. It is fast because the frame's points are sorted once into cells so small that two points of one
cell are within rho of each other whatever the mask: a seed takes its whole cell along. What is left is compared by
nearest neighbours, first between one representative a cell (a hit is a hit), then point by point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from sam_adapt_ros.config import EnhancementConfig

Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]

_LEVEL_RATIO = 1.2  # cell sizes grow in these steps as f does
_MAX_LEVEL = 63
_FINEST_REACH = 0.01  # metres; points of a smaller f get a cell each, so that keys cannot overflow
_CELL_BITS = 19
_SLACK = 1e-6  # relative; what rounding may add to cell sizes and prunings
_DENSE_PAIRS = 24_000  # up to here all distances and radii are cheaper than a tree
_DENSE_MINIMA = 60_000  # up to here all distances are
_MANY = 3_000  # from here on representatives are compared first
_CHUNK_PAIRS = 400_000  # what exact tests of many pairs hold at a time (about 30 MB)
_NOWHERE = -1
_FIRST = np.ones(1, bool)


class Propagator:
    """GAPP over the masks of one frame. ``grow`` is called a mask at a time, in the order the masks are visited."""

    def __init__(self, points: NDArray[np.float32], config: EnhancementConfig) -> None:
        """points: (N, 3) metres, finite, LiDAR frame."""
        self._points = points.astype(np.float64)
        axes = np.ascontiguousarray(self._points.T)
        self._slope = config.radius_per_metre
        self._reach = reach(axes, config)
        self._cell = _cells(axes, self._reach)
        to_next = _length(axes[:, 1:] - axes[:, :-1])
        self._linked = to_next <= np.minimum(self._reach[1:], self._reach[:-1])
        cells = int(self._cell.max(initial=-1)) + 1
        self._seeded = np.zeros(cells, bool)  # scratch, all False between calls
        self._slot = np.zeros(cells, np.intp)  # scratch
        self._settled_by = np.full(len(points), _NOWHERE, np.int32)
        self._settled_class: list[int] = []

    def grow(self, members: Indices, seeds: Bools, open_: Bools, class_id: int) -> Indices:
        """The points that join the seeds.

        members: the mask's points. seeds, open_: booleans over members: those that carry class_id, and those that
        may join. The caller gives the returned points class_id at once, and changes no other label meanwhile.
        """
        if self._is_settled(members, class_id):
            return members[:0]
        reached = seeds | (open_ & self._reached_along_the_scan(members, seeds, open_))
        cell = self._cell[members]
        self._seeded[cell[reached]] = True
        reached |= open_ & self._seeded[cell]
        rest = members[open_ & ~reached]
        joined = [members[reached & ~seeds]]
        if len(rest):
            joined += self._spread(members[reached], rest)
        self._seeded[cell] = False
        self._settled_by[members] = len(self._settled_class)
        self._settled_class.append(class_id)
        return np.concatenate(joined)

    def _reached_along_the_scan(self, members: Indices, seeds: Bools, open_: Bools) -> Bools:
        """Which members a chain of neighbours in the cloud's order links to a seed; a sensor's order is local."""
        chained = self._linked[members[:-1]]
        chained &= members[1:] - members[:-1] == 1
        free = seeds | open_
        chained &= free[1:]
        chained &= free[:-1]
        start = np.concatenate([_FIRST, ~chained])
        return np.logical_or.reduceat(seeds, start.nonzero()[0])[start.cumsum() - 1]

    def _is_settled(self, members: Indices, class_id: int) -> bool:
        """Whether an earlier mask of the same class holds all of this one, and no mask visited since touches it.

        Then whoever could join has joined: nobody left in that mask is within reach of any of its seeds.
        """
        owner = self._settled_by[members]
        first = owner[0]
        return bool(first != _NOWHERE and self._settled_class[first] == class_id and (owner == first).all())

    def _spread(self, untested: Indices, rest: Indices) -> list[Indices]:
        """Rounds of joining. untested: the seeded points; rest: those that may join, of cells that hold no seed."""
        joined: list[Indices] = []

        def join(hit: Indices) -> Indices:
            nonlocal rest
            self._seeded[self._cell[hit]] = True
            inside = self._seeded[self._cell[rest]]
            new, rest = rest[inside], rest[~inside]
            joined.append(new)
            return new

        def is_small() -> bool:
            return len(rest) * (len(rest) + len(untested)) <= _DENSE_PAIRS

        while len(untested) and len(rest):
            if not is_small():
                if len(untested) > len(rest):
                    untested = self._near(untested, rest)
                front = untested
                while len(front) and len(rest) and len(rest) + len(front) > _MANY:
                    representatives = self._representatives(rest)
                    front = join(representatives[self._touch(representatives, self._representatives(front))])
                    untested = np.concatenate([untested, front])
            if not len(untested) or not len(rest):
                break
            if is_small():
                joined.append(rest[self._close(rest, untested)])
                break
            untested = join(rest[self._touch(rest, untested)])
        return joined

    def _close(self, rest: Indices, seeds: Indices) -> Bools:
        """Which of the rest join in the end, from all distances at once."""
        everyone = np.concatenate([rest, seeds])
        touch = self._touches(rest, everyone)
        among = touch[:, : len(rest)]
        joined = new = np.any(touch[:, len(rest) :], axis=1)
        while new.any():
            new = among[new].any(0) & ~joined
            joined = joined | new
        return joined

    def _touches(self, n: Indices, s: Indices) -> Bools:
        """(len(n), len(s)) whether |x_n - x_s| <= rho(n, s); exact."""
        reach = self._reach[n][:, None]
        excess = cdist(self._points[n], self._points[s])
        excess -= np.minimum(reach, self._reach[s])
        touches = excess <= 0
        rows, columns = (np.abs(excess, out=excess) <= _SLACK * reach).nonzero()
        if len(rows):  # cdist need not round as the definition does
            touches[rows, columns] = self._within(n[rows], s[columns])
        return touches

    def _representatives(self, points: Indices) -> Indices:
        """One point of each cell that holds some of the points."""
        cell = self._cell[points]
        self._slot[cell] = points
        return points[self._slot[cell] == points]

    def _near(self, seeds: Indices, rest: Indices) -> Indices:
        """Those seeds whose cells may hold a point within reach of some of the rest.

        f is Lipschitz (slope a), and a cell's diameter is no more than the f of its points. So if a point of s's cell
        touches one of n's cell, |s - n| <= f(s) (1 + (1 + a) + (1 + a)^2).
        """
        representatives = self._representatives(seeds)
        growth = 1.0 + self._slope
        bound = self._reach[representatives] * ((1.0 + growth + growth**2) * (1.0 + _SLACK))
        targets = self._points[self._representatives(rest)]
        if len(targets) * len(representatives) <= _DENSE_MINIMA:
            distance = cdist(targets, self._points[representatives]).min(0)
        else:
            distance, _ = _tree(targets).query(self._points[representatives], distance_upper_bound=bound.max())
        near = representatives[distance <= bound]
        self._slot[self._cell[seeds]] = _NOWHERE
        self._slot[self._cell[near]] = near
        return seeds[self._slot[self._cell[seeds]] != _NOWHERE]

    def _touch(self, rest: Indices, seeds: Indices) -> Bools:
        """Which of the rest are within rho of at least one seed; exact."""
        if len(rest) * len(seeds) <= _DENSE_PAIRS:
            return np.any(self._touches(rest, seeds), axis=1)
        reach = self._reach[rest] * (1.0 + _SLACK)  # rho is never more
        distance, nearest = _tree(self._points[seeds]).query(self._points[rest], distance_upper_bound=reach.max())
        close = np.flatnonzero(distance <= reach)
        touch = np.zeros(len(rest), bool)
        touch[close] = self._within(rest[close], seeds[np.asarray(nearest)[close]])
        unclear = close[~touch[close]]  # a seed further away may reach further
        step = max(1, _CHUNK_PAIRS // len(seeds))
        for start in range(0, len(unclear), step):
            chunk = unclear[start : start + step]
            touch[chunk] = self._within(rest[chunk, None], seeds[None]).any(1)
        return touch

    def _within(self, n: Indices, s: Indices) -> Bools:
        """|x_n - x_s| <= rho(n, s), to the last bit."""
        difference = self._points[n] - self._points[s]
        return _length(np.moveaxis(difference, -1, 0)) <= np.minimum(self._reach[n], self._reach[s])


def reach(axes: NDArray[np.float64], config: EnhancementConfig) -> NDArray[np.float64]:
    """(N,) f(n) = clip(radius_per_metre * |x_n|, min_radius, max_radius), metres, of (3, N) coordinates."""
    return np.clip(config.radius_per_metre * _length(axes), config.min_radius, config.max_radius)


def _length(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of vectors (3, ...). Rounded as written, without fused operations or another order of summing."""
    x, y, z = axes * axes
    x += y
    x += z
    return np.sqrt(x, out=x)


def _cells(axes: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.intp]:
    """(N,) cell ids 0, 1, ...: cubes whose diagonal is below the least f of the points inside."""
    if not len(reach):
        return np.zeros(0, np.intp)
    base = max(_FINEST_REACH, float(reach.min()))
    scratch = reach * (1 / base)  # reused: fresh memory costs more than the arithmetic
    np.log(scratch, out=scratch)
    scratch *= 1 / np.log(_LEVEL_RATIO)
    scratch -= _SLACK
    np.clip(scratch, 0, _MAX_LEVEL, out=scratch)
    key = scratch.astype(np.int64)
    sides = (base / np.sqrt(3) * (1 - 4 * _SLACK)) * _LEVEL_RATIO ** np.arange(_MAX_LEVEL + 1)
    per_side = (1 / sides)[key]
    limit = 1 << (_CELL_BITS - 1)
    alone = reach < base
    far = max(axes.max(), -axes.min()) >= (limit - 1) * sides[0]
    for coordinates in axes:
        np.multiply(coordinates, per_side, out=scratch)
        np.floor(scratch, out=scratch)
        scratch += limit
        if far:
            outside = (scratch < 0) | (scratch >= 2 * limit)
            alone |= outside
            scratch[outside] = 0
        key <<= _CELL_BITS
        key |= scratch.astype(np.int64)
    key[alone] = -1 - np.flatnonzero(alone)
    order = key.argsort()
    np.take(key, order, out=per_side.view(np.int64))
    ordered = per_side.view(np.int64)
    key[0] = 0
    key[1:] = ordered[1:] != ordered[:-1]
    np.cumsum(key, out=key)
    cell = np.empty(len(key), np.intp)
    cell[order] = key
    return cell


def _tree(points: NDArray[np.float64]) -> cKDTree:
    return cKDTree(points, balanced_tree=False, compact_nodes=False)
