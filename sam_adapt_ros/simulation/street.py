"""The ground: a winding street with cross streets, sidewalks and the terrain beside them, and its ray casting.

Positions are given as x (world) and d, the lateral distance to the left of the centre line, both in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.domains import Looks
from sam_adapt_ros.simulation.primitives import FloatArray

Numbers = Any  # a float for a float, an array for an array

ROAD, SIDEWALK, TERRAIN = 0, 1, 2  # class ids of the taxonomy
FIRST_GROUND_ID = 1  # instance 1 is the road, then three ids per block and side
_STEP = 0.25  # metres along x between entries of the tables
MARGIN = 110.0
"""Metres of street before the drive's start and after its end."""


@dataclass(frozen=True)
class Block:
    """The part between two cross streets. start, end: x, metres. kinds: of the right and of the left side."""

    number: int
    start: float
    end: float
    kinds: tuple[str, str]
    parking: bool


class Street:
    """One winding street along x, from -MARGIN to length + MARGIN."""

    def __init__(self, length: float, looks: Looks, rng: np.random.Generator) -> None:
        self.start, self.end = -MARGIN, length + MARGIN
        self._x = np.arange(self.start, self.end, _STEP)
        self._center = np.zeros_like(self._x)
        for wavelength, amplitude in ((rng.uniform(150, 200), rng.uniform(6, 11)), (rng.uniform(60, 90), 1.2)):
            self._center += amplitude * np.sin(2 * np.pi * (self._x / wavelength + rng.random()))
        self._slope = np.gradient(self._center, _STEP)
        self._arc = np.concatenate(([0.0], np.cumsum(np.hypot(_STEP, np.diff(self._center)))))
        self._arc_at_zero = np.interp(0.0, self._x, self._arc)
        self.half_width = rng.uniform(*looks.road_half_width)
        self.crossings: list[tuple[float, float]] = []  # x and half width of each cross street
        self.blocks: list[Block] = []
        self._lay(looks, rng)
        self._table_center = self._center.astype(np.float32)
        self._table_cos = (1 / np.hypot(1, self._slope)).astype(np.float32)

    def _lay(self, looks: Looks, rng: np.random.Generator) -> None:
        """Samples the blocks and fills the tables of zone limits by side (0 right, 1 left) and x."""
        n = len(self._x)
        self._verge = np.full((2, n), self.half_width, np.float32)  # terrain between road and sidewalk ends here
        self._walk = np.full((2, n), self.half_width, np.float32)  # the sidewalk ends here
        self._beyond = np.full((2, n), TERRAIN, np.uint8)
        self._level = np.zeros((3, 2, n), np.float32)  # heights by zone; the road's are 0
        self.levels = np.unique(np.array([0.0, *looks.sidewalk_height, *looks.terrain_height], np.float32))
        """Heights that the ground can have: a kerb is a step between two of them, or none where it is flush."""
        self._crossing = np.zeros(n, np.uint8)  # 1: cross street, 2: its sidewalk
        self._block = np.zeros(n, np.int32)
        (heights,) = rng.spawn(1)
        names, weights = list(looks.blocks), np.array(list(looks.blocks.values()))
        x = self.start
        while x < self.end:
            end = x + rng.uniform(*looks.block_length)
            kinds = tuple(str(k) for k in rng.choice(names, 2, p=weights / weights.sum()))
            block = Block(len(self.blocks), x, end, (kinds[0], kinds[1]), bool(rng.random() < 0.6))
            self.blocks.append(block)
            inside = slice(*np.searchsorted(self._x, (x, end)))
            self._block[inside] = block.number
            for side, kind in enumerate(kinds):
                verge = rng.uniform(1.0, 2.0) if kind != "downtown" and rng.random() < 0.6 else 0.0
                self._verge[side, inside] += verge
                self._walk[side, inside] += verge + rng.uniform(*looks.sidewalk_width)
                self._beyond[side, inside] = {"downtown": SIDEWALK, "lot": ROAD}.get(kind, TERRAIN)
                self._level[SIDEWALK, side, inside] = heights.choice(looks.sidewalk_height)
                self._level[TERRAIN, side, inside] = heights.choice(looks.terrain_height)
            half = rng.uniform(3.2, 5.0)
            middle = end + half + 2
            self.crossings.append((middle, half))
            offset = np.abs(self._x - middle)
            self._crossing[offset < half + 2] = 2
            self._crossing[offset < half] = 1
            self._block[offset < half + 2] = block.number
            self._level[:, :, offset < half + 2] = self._level[:, :, inside.stop - 1 : inside.stop]
            x = middle + half + 2

    def _index(self, x: NDArray) -> NDArray[np.int32]:
        return np.clip((x - np.float32(self.start)) * np.float32(1 / _STEP), 0, len(self._x) - 1).astype(np.int32)

    def lateral(self, x: NDArray, y: NDArray) -> FloatArray:
        """d of world x, y."""
        i = self._index(x)
        return (y - self._table_center[i]) * self._table_cos[i]

    def zone(self, x: NDArray, y: NDArray) -> NDArray[np.uint8]:
        """Class id of the ground at world x, y."""
        i = self._index(x)
        d = (y - self._table_center[i]) * self._table_cos[i]
        side = (d > 0).astype(np.uint8)
        d = np.abs(d)
        zone = self._beyond[side, i]
        zone = np.where(d < self._walk[side, i], np.uint8(SIDEWALK), zone)
        zone = np.where(d < self._verge[side, i], np.uint8(TERRAIN), zone)
        crossing = self._crossing[i]
        zone = np.where(crossing == 2, np.uint8(SIDEWALK), zone)
        return np.where((crossing == 1) | (d < self.half_width), np.uint8(ROAD), zone)

    def height(self, x: NDArray, y: NDArray) -> FloatArray:
        """Height of the ground at world x, y: one of ``levels``."""
        i = self._index(x)
        return self._level[self.zone(x, y), (y > self._table_center[i]).astype(np.uint8), i]

    def instance(self, x: NDArray, y: NDArray, zone: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Instance ids of the ground: one for the road; one per zone, block and side for the rest."""
        i = self._index(x)
        d = (y - self._table_center[i]) * self._table_cos[i]
        ids = FIRST_GROUND_ID + 1 + (self._block[i] * 2 + (d > 0)) * 3 + zone
        lot = np.abs(d) >= self.half_width
        on_road = (zone == ROAD) & ((self._crossing[i] == 1) | ~lot)
        return np.where(on_road, FIRST_GROUND_ID, ids).astype(np.uint16)

    @property
    def next_instance(self) -> int:
        """The first instance id that the ground does not use."""
        return FIRST_GROUND_ID + 1 + 6 * (len(self.blocks) + 1)

    def place(self, x: Numbers, d: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """World x, y and the street's heading in radians at x and d, which are numbers or arrays."""
        slope = np.interp(x, self._x, self._slope)
        norm = np.hypot(1, slope)
        y = np.interp(x, self._x, self._center)
        return x - d * slope / norm, y + d / norm, np.arctan(slope)

    def along(self, arc: Numbers) -> Numbers:
        """x at an arc length along the centre line from x = 0, metres."""
        return np.interp(arc + self._arc_at_zero, self._arc, self._x)

    def arc(self, x: Numbers) -> Numbers:
        """Arc length along the centre line from x = 0 to x, metres."""
        return np.interp(x, self._x, self._arc) - self._arc_at_zero

    def verge_end(self, x: Numbers, side: Numbers) -> Numbers:
        """Distance from the centre line at which the sidewalk begins; side: 0 right, 1 left."""
        return self._verge[side, self._index(np.asarray(x))]

    def walk_end(self, x: Numbers, side: Numbers) -> Numbers:
        """Distance from the centre line at which the sidewalk ends."""
        return self._walk[side, self._index(np.asarray(x))]

    def to_crossing(self, x: NDArray) -> FloatArray:
        """Distance from x to the edge of the nearest cross street, metres; negative on it."""
        middles, halves = np.array(self.crossings, np.float32).T
        i = np.clip(np.searchsorted(middles, x), 1, len(middles) - 1)
        return np.minimum(np.abs(x - middles[i]) - halves[i], np.abs(x - middles[i - 1]) - halves[i - 1])

    def cast(
        self, rays: FloatArray, origin: NDArray, limit: FloatArray
    ) -> tuple[NDArray[np.int64], FloatArray, NDArray[np.uint8]]:
        """Hits of rays (3, N) with the ground nearer than ``limit`` (N,): indices (M,), distances (M,), zones (M,).

        Where the ground's height changes there is a vertical curb, which is found by bisection and belongs to the
        higher zone.
        """
        o = origin.astype(np.float32)
        down = np.flatnonzero(rays[2] < -1e-4)
        down = down[(self.levels[-1] - o[2]) / rays[2, down] < limit[down]]
        dx, dy, dz = rays[:, down]
        free = (self.levels[-1] - o[2]) / dz  # up to this distance the ray is above ground
        distance = np.full(len(down), np.inf, np.float32)
        active = np.arange(len(down))
        for level in self.levels[::-1]:
            t = (level - o[2]) / dz[active]
            ground = self.height(o[0] + t * dx[active], o[1] + t * dy[active])
            met, curb = ground >= level, ground > level
            distance[active[met]] = t[met]
            rows = active[curb]
            if len(rows):
                distance[rows] = self._curb(dx[rows], dy[rows], dz[rows], o, free[rows], t[curb])
            free[active] = t
            active = active[~met]
        before = distance < limit[down]
        distance = distance[before]
        zone = self.zone(o[0] + distance * dx[before], o[1] + distance * dy[before])
        return down[before], distance, zone

    def _curb(
        self, dx: FloatArray, dy: FloatArray, dz: FloatArray, o: FloatArray, free: FloatArray, buried: FloatArray
    ) -> FloatArray:
        """Distances of the curbs that rays hit between ``free`` (above ground) and ``buried`` (below it)."""
        for _ in range(8):
            t = (free + buried) / 2
            under = self.height(o[0] + t * dx, o[1] + t * dy) > o[2] + t * dz
            free, buried = np.where(under, free, t), np.where(under, t, buried)
        return buried
