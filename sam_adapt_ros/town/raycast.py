"""Rays against solids: for each solid, only the rays of its bounding rectangle in the sensor's grid are tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.town.noise import noise
from sam_adapt_ros.town.primitives import FloatArray, Primitives, Shape

NOTHING = -1
INFINITY = np.float32(np.inf)
_EPSILON = np.float32(1e-9)
_CONVEX, _CYLINDER, _WHEEL, _, _FOLIAGE = (int(shape) for shape in Shape)  # comparing plain integers is faster
_EDGES = np.array([(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit])


class RayGrid(Protocol):
    """A sensor's rays on a grid of rows and columns."""

    directions: FloatArray  # (3, H, W) unit vectors in the sensor's frame
    wraps: bool  # whether the last column is next to the first

    def rectangles(self, corners: FloatArray) -> NDArray[np.int64]:
        """(P, 8, 3) corners of boxes in the sensor's frame -> (P, 4) row and column bounds (r0, r1, c0, c1), half open.

        Every ray that meets a box is within its rectangle. c1 may exceed W where columns wrap.
        """


@dataclass
class Hits:
    """What each ray meets first.

    distance: (H, W) float32 metres, inf where nothing is met. primitive: (H, W) int32, -1 = none.
    face: (H, W) uint8, the plane's number on convex solids, 1 on a cylinder's ends, else 0.
    """

    distance: FloatArray
    primitive: NDArray[np.int32]
    face: NDArray[np.uint8]


class PinholeGrid:
    """Rays through the pixel centres (integers) of a pinhole camera; optical frame (z forward, x right, y down)."""

    wraps = False

    def __init__(self, width: int, height: int, focal: float, cx: float, cy: float) -> None:
        self.width, self.height, self.focal, self.cx, self.cy = width, height, focal, cx, cy
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        rays = np.stack(((u - cx) / focal, (v - cy) / focal, np.ones_like(u, float)))
        self.directions = (rays / np.linalg.norm(rays, axis=0)).astype(np.float32)

    def rectangles(self, corners: FloatArray) -> NDArray[np.int64]:
        near = 0.02
        a, b = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
        crosses = (a[..., 2] > near) != (b[..., 2] > near)
        share = np.where(crosses, (near - a[..., 2]) / np.where(crosses, b[..., 2] - a[..., 2], 1), 0)[..., None]
        points = np.concatenate((corners, a + share * (b - a)), 1)
        usable = np.concatenate((corners[..., 2] > near, crosses), 1)
        z = np.where(usable, np.maximum(points[..., 2], near), 1)
        u = points[..., 0] / z * self.focal + self.cx
        v = points[..., 1] / z * self.focal + self.cy

        def bounds(x: NDArray, size: int) -> tuple[NDArray, NDArray]:
            low, high = np.where(usable, x, 1e6).min(1), np.where(usable, x, -1e6).max(1)
            return np.clip(np.ceil(low - 0.01), 0, size), np.clip(np.floor(high + 0.01) + 1, 0, size)

        return np.stack((*bounds(v, self.height), *bounds(u, self.width)), 1).astype(np.int64)


class SpinningGrid:
    """A spinning LiDAR's rays: a row a beam, the highest first; a column an azimuth, from -pi (x forward, z up)."""

    wraps = True

    def __init__(self, elevations: NDArray, columns: int) -> None:
        self.elevations = np.sort(np.asarray(elevations, float))[::-1]
        self.columns = columns
        azimuth = -np.pi + (np.arange(columns) + 0.5) * (2 * np.pi / columns)
        el, az = self.elevations[:, None], azimuth[None]
        rays = np.broadcast_arrays(np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el))
        self.directions = np.stack(rays).astype(np.float32)

    def rectangles(self, corners: FloatArray) -> NDArray[np.int64]:
        # A box's extremes of azimuth and elevation lie on its edges, so those are sampled and given some margin.
        share = np.linspace(0, 1, 9, dtype=np.float32)[None, None, :, None]
        a, b = corners[:, _EDGES[:, 0], None], corners[:, _EDGES[:, 1], None]
        x, y, z = np.moveaxis((a + share * (b - a)).reshape(len(corners), -1, 3), 2, 0)
        middle = corners.mean(1)
        middle_azimuth = np.arctan2(middle[:, 1], middle[:, 0])
        cos, sin = np.cos(middle_azimuth)[:, None], np.sin(middle_azimuth)[:, None]
        offset = np.arctan2(cos * y - sin * x, cos * x + sin * y)
        step = 2 * np.pi / self.columns
        low, high = offset.min(1) - step, offset.max(1) + step
        around = high - low > np.pi
        c0 = np.floor((middle_azimuth + low + np.pi) / step - 0.5).astype(np.int64)
        c1 = np.ceil((middle_azimuth + high + np.pi) / step - 0.5).astype(np.int64) + 1
        width = np.where(around, self.columns, np.minimum(c1 - c0, self.columns))
        c0 = np.where(around, 0, c0 % self.columns)
        elevation = np.arctan2(z, np.hypot(x, y))
        low, high = elevation.min(1) - 0.02, elevation.max(1) + 0.02
        high = np.where(high > 0.3, np.pi / 2, high)  # near a tall solid the samples are too far apart to tell
        low = np.where(low < -0.3, -np.pi / 2, low)
        ascending = -self.elevations
        r0 = np.searchsorted(ascending, -high)
        r1 = np.searchsorted(ascending, -low, side="right")
        return np.stack((r0, r1, c0, c0 + width), 1)


def cast(grid: RayGrid, rotation: NDArray, origin: NDArray, solids: Primitives, directions: FloatArray) -> Hits:
    """What each ray of the grid meets first.

    rotation: (3, 3) sensor -> world. origin: (3,) world, metres. directions: (3, H, W) float32, the rays in the world.
    """
    shape = directions.shape[1:]
    hits = Hits(np.full(shape, INFINITY), np.full(shape, NOTHING, np.int32), np.zeros(shape, np.uint8))
    if not len(solids):
        return hits
    origin = origin.astype(np.float32)
    offset = origin - solids.center  # the rays' origin relative to each solid, axes of the world
    cos, sin = np.cos(solids.yaw), np.sin(solids.yaw)
    rectangles = grid.rectangles(_corners(offset, cos, sin, solids.half) @ rotation.astype(np.float32))
    nearest = _distance_to_boxes(offset, cos, sin, solids.half)
    normals, heights = _planes_in_world(offset, cos, sin, solids.planes)
    width = shape[1]
    order = np.argsort(nearest, kind="stable")
    order = order[(rectangles[order, 1] > rectangles[order, 0]) & (rectangles[order, 3] > rectangles[order, 2])]
    shapes = solids.shape.tolist()
    for i, (r0, r1, c0, c1) in zip(order.tolist(), rectangles[order].tolist(), strict=True):
        for a, b in ((c0, min(c1, width)), (0, c1 - width)):
            if b <= a:
                continue
            window = (slice(r0, r1), slice(a, b))
            known = hits.distance[window]
            if known.max() <= nearest[i]:
                continue  # everything here is hidden by what is nearer
            rays = directions[:, r0:r1, a:b]
            kind = shapes[i]
            if kind == _CONVEX:
                distance, face = _meet_convex(rays, normals[i], heights[i])
            else:
                local = _turned(rays, cos[i], sin[i])
                o = _turned(offset[i], cos[i], sin[i])
                if kind in (_CYLINDER, _WHEEL):
                    distance, face = _meet_cylinder(local, o, solids.half[i], 2 if kind == _CYLINDER else 1)
                else:
                    ragged = solids.variant[i] if kind == _FOLIAGE else None
                    distance, face = _meet_ellipsoid(local, o, solids.half[i], ragged), None
            closer = distance < known
            np.copyto(known, distance, where=closer)
            np.copyto(hits.primitive[window], i, where=closer)
            np.copyto(hits.face[window], 0 if face is None else face, where=closer)
    return hits


def _corners(offset: FloatArray, cos: FloatArray, sin: FloatArray, half: FloatArray) -> FloatArray:
    """(P, 8, 3) corners of the bounding boxes relative to the rays' origin, axes of the world."""
    signs = np.array([[1 if c & bit else -1 for bit in (1, 2, 4)] for c in range(8)], np.float32)
    x, y, z = np.moveaxis(signs[None] * half[:, None], 2, 0)
    cos, sin = cos[:, None], sin[:, None]
    return np.stack((cos * x - sin * y, sin * x + cos * y, z), 2) - offset[:, None]


def _distance_to_boxes(offset: FloatArray, cos: FloatArray, sin: FloatArray, half: FloatArray) -> FloatArray:
    x, y = cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]
    outside = np.maximum(np.abs(np.stack((x, y, offset[:, 2]), 1)) - half, 0)
    return np.sqrt((outside**2).sum(1)) * np.float32(0.9999)


def _planes_in_world(
    offset: FloatArray, cos: FloatArray, sin: FloatArray, planes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(P, 8, 3) normals and (P, 8) how far inside each plane the rays' origin is."""
    n = planes[..., :3].copy()
    n[..., 0] = cos[:, None] * planes[..., 0] - sin[:, None] * planes[..., 1]
    n[..., 1] = sin[:, None] * planes[..., 0] + cos[:, None] * planes[..., 1]
    return n, planes[..., 3] - np.einsum("pki,pi->pk", n, offset)


def _turned(v: FloatArray, cos: np.float32, sin: np.float32) -> tuple[FloatArray, FloatArray, FloatArray]:
    """World axes -> a solid's axes; v: (3, ...)."""
    return cos * v[0] + sin * v[1], cos * v[1] - sin * v[0], v[2]


def _meet_convex(rays: FloatArray, normals: FloatArray, inside: FloatArray) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Slab method: a ray enters through the last of the planes that its origin is outside of."""
    outer = np.flatnonzero(inside < 0)
    shape = rays.shape[1:]
    if not len(outer):  # the sensor is inside: see through
        return np.full(shape, INFINITY), np.zeros(shape, np.uint8)
    flat = rays.reshape(3, -1)
    slope = normals[outer] @ flat
    with np.errstate(divide="ignore", invalid="ignore"):
        enter = np.where(slope < -_EPSILON, inside[outer, None] / slope, INFINITY)
        which = enter.argmax(0)
        first = enter.max(0)
        inner = np.flatnonzero((inside >= 0) & (np.abs(normals).sum(1) > 0))
        if len(inner):
            slope = normals[inner] @ flat
            leave = np.where(slope > _EPSILON, inside[inner, None] / slope, INFINITY).min(0)
            first = np.where(first < leave, first, INFINITY)
    return first.reshape(shape), outer.astype(np.uint8)[which].reshape(shape)


def _meet_cylinder(
    rays: tuple[FloatArray, ...], o: tuple[FloatArray, ...], half: FloatArray, axis: int
) -> tuple[FloatArray, NDArray[np.uint8]]:
    i, j = (0, 1) if axis == 2 else (0, 2)
    radius, length = half[i], half[axis]
    dx, dy, dz = rays[i], rays[j], rays[axis]
    ox, oy, oz = o[i], o[j], o[axis]
    a = np.maximum(dx * dx + dy * dy, _EPSILON)
    b = ox * dx + oy * dy
    discriminant = b * b - a * (ox * ox + oy * oy - radius * radius)
    side = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    side = np.where((discriminant > 0) & (side > 0) & (np.abs(oz + side * dz) <= length), side, INFINITY)
    end = np.sign(oz) * length  # only the end that faces the origin can be met first
    if abs(oz) <= length:
        return side, np.zeros(side.shape, np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        cap = (end - oz) / dz
        x, y = ox + cap * dx, oy + cap * dy
        cap = np.where((cap > 0) & (x * x + y * y <= radius * radius), cap, INFINITY)
    return np.minimum(side, cap), (cap < side).astype(np.uint8)


def _meet_ellipsoid(
    rays: tuple[FloatArray, ...], o: tuple[FloatArray, ...], half: FloatArray, ragged: float | None
) -> FloatArray:
    dx, dy, dz = (r / h for r, h in zip(rays, half, strict=True))
    ox, oy, oz = (x / h for x, h in zip(o, half, strict=True))
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - 1
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    distance = (-b - root) / a
    hit = (discriminant > 0) & (distance > 0)
    if ragged is not None:
        # Where a ray only grazes the crown, leaves are sparse; the pattern belongs to the surface, not to the ray.
        z = oz + distance * dz
        around = (ox + distance * dx) - (oy + distance * dy)
        size = np.float32(40.0) * half[2]
        pattern = noise(around * size + ragged * 300, z * size + ragged * 700)
        hit &= root * root > a * (np.float32(0.28) + np.float32(0.55) * pattern)
    return np.where(hit, distance, INFINITY)
