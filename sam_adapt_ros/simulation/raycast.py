"""Ray casting: each solid is intersected only with the rays of its bounding rectangle in the sensor's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.grids import RayGrid
from sam_adapt_ros.simulation.noise import noise
from sam_adapt_ros.simulation.primitives import FloatArray, Primitives, Shape

NOTHING = -1
INFINITY = np.float32(np.inf)
_EPSILON = np.float32(1e-9)
_CONVEX, _CYLINDER, _WHEEL, _, _FOLIAGE = (int(shape) for shape in Shape)  # comparing plain integers is faster


@dataclass
class Hits:
    """The first hit of each ray.

    distance: (H, W) float32 metres, inf where there is no hit. primitive: (H, W) int32, -1 = none.
    face: (H, W) uint8, the plane's number on convex solids, 1 on a cylinder's ends, else 0.
    """

    distance: FloatArray
    primitive: NDArray[np.int32]
    face: NDArray[np.uint8]


def cast(
    grid: RayGrid, rotation: NDArray, origin: NDArray, solids: Primitives, directions: FloatArray, reach: float = np.inf
) -> Hits:
    """The first hit of each ray of the grid.

    rotation: (3, 3) sensor -> world. origin: (3,) world, metres. directions: (3, H, W) float32, the rays in the world.
    reach: solids that are entirely farther than this, in metres, are left out.
    """
    shape = directions.shape[1:]
    hits = Hits(np.full(shape, INFINITY), np.full(shape, NOTHING, np.int32), np.zeros(shape, np.uint8))
    if not len(solids):
        return hits
    offset = origin.astype(np.float32) - solids.center  # the rays' origin relative to each solid, in world axes
    cos, sin = np.cos(solids.yaw), np.sin(solids.yaw)
    rectangles = grid.rectangles(_corners(offset, cos, sin, solids.half) @ rotation.astype(np.float32))
    nearest = _distance_to_boxes(offset, cos, sin, solids.half)
    normals, inside = _planes_in_world(offset, cos, sin, solids.planes)
    to_unit = _to_unit_shapes(cos, sin, solids)
    starts = np.einsum("pij,pj->pi", to_unit, offset)
    order = np.argsort(nearest, kind="stable")
    r0, r1, c0, c1 = rectangles[order].T
    order = order[(r1 > r0) & (c1 > c0) & (nearest[order] < reach)]
    shapes, near = solids.shape.tolist(), nearest.tolist()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for i in order.tolist():
            kind = shapes[i]
            for window in _windows(rectangles[i].tolist(), shape[1]):
                known = hits.distance[window]
                if known.max() <= near[i]:
                    continue  # everything in the window is hidden by nearer hits
                rays = directions[:, window[0], window[1]].reshape(3, -1)
                if kind == _CONVEX:
                    distance, face = _meet_convex(rays, normals[i], inside[i])
                elif kind in (_CYLINDER, _WHEEL):
                    distance, face = _meet_cylinder(to_unit[i] @ rays, starts[i])
                else:
                    leaves = (solids.half[i, 2], solids.variant[i]) if kind == _FOLIAGE else None
                    distance, face = _meet_ellipsoid(to_unit[i] @ rays, starts[i], leaves)
                closer = distance.reshape(known.shape) < known
                np.copyto(known, distance.reshape(known.shape), where=closer)
                np.copyto(hits.primitive[window], i, where=closer)
                np.copyto(hits.face[window], face.reshape(known.shape), where=closer)
    return hits


def _windows(rectangle: list[int], width: int) -> list[tuple[slice, slice]]:
    """The rectangle as slices of the grid: two where it wraps around the last column, else one."""
    r0, r1, c0, c1 = rectangle
    rows = slice(r0, r1)
    if c1 <= width:
        return [(rows, slice(c0, c1))]
    return [(rows, slice(c0, width)), (rows, slice(0, c1 - width))]


def _corners(offset: FloatArray, cos: FloatArray, sin: FloatArray, half: FloatArray) -> FloatArray:
    """(P, 8, 3) corners of the bounding boxes relative to the rays' origin, in world axes."""
    signs = np.array([[1 if c & bit else -1 for bit in (1, 2, 4)] for c in range(8)], np.float32)
    x, y, z = np.moveaxis(signs[None] * half[:, None], 2, 0)
    cos, sin = cos[:, None], sin[:, None]
    return np.stack((cos * x - sin * y, sin * x + cos * y, z), 2) - offset[:, None]


def _distance_to_boxes(offset: FloatArray, cos: FloatArray, sin: FloatArray, half: FloatArray) -> FloatArray:
    """(P,) lower bounds of the distances from the rays' origin to the bounding boxes, metres."""
    x, y = cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]
    outside = np.maximum(np.abs(np.stack((x, y, offset[:, 2]), 1)) - half, 0)
    return np.sqrt((outside**2).sum(1)) * np.float32(0.9999)


def _planes_in_world(
    offset: FloatArray, cos: FloatArray, sin: FloatArray, planes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(P, 8, 3) normals and (P, 8) distances of the rays' origin to each plane, positive inside."""
    n = planes[..., :3].copy()
    n[..., 0] = cos[:, None] * planes[..., 0] - sin[:, None] * planes[..., 1]
    n[..., 1] = sin[:, None] * planes[..., 0] + cos[:, None] * planes[..., 1]
    return n, planes[..., 3] - np.einsum("pki,pi->pk", n, offset)


def _to_unit_shapes(cos: FloatArray, sin: FloatArray, solids: Primitives) -> FloatArray:
    """(P, 3, 3) from world axes to axes in which the solid is a unit sphere, or a unit cylinder along the last axis."""
    matrices = np.zeros((len(solids), 3, 3), np.float32)
    matrices[:, 0, 0], matrices[:, 0, 1] = cos, sin
    matrices[:, 1, 0], matrices[:, 1, 1] = -sin, cos
    matrices[:, 2, 2] = 1
    matrices /= solids.half[:, :, None]
    wheel = solids.shape == _WHEEL
    matrices[wheel] = matrices[wheel][:, [0, 2, 1]]
    return matrices


def _meet_convex(rays: FloatArray, normals: FloatArray, inside: FloatArray) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Distances and faces by the slab method (Kay and Kajiya, SIGGRAPH 1986).

    A ray enters a convex solid through the last of the planes that its origin is outside of.
    """
    outer = np.flatnonzero(inside < 0)
    if not len(outer):  # the sensor is inside the solid, which is then invisible
        return np.full(rays.shape[1], INFINITY), np.zeros(rays.shape[1], np.uint8)
    slope = normals @ rays
    entering = slope[outer]
    enter = np.where(entering < -_EPSILON, inside[outer, None] / entering, INFINITY)
    first = enter.max(0)
    inner = np.flatnonzero((inside >= 0) & (np.abs(normals).sum(1) > 0))
    if len(inner):
        leaving = slope[inner]
        leave = np.where(leaving > _EPSILON, inside[inner, None] / leaving, INFINITY).min(0)
        first = np.where(first < leave, first, INFINITY)
    return first, outer.astype(np.uint8)[enter.argmax(0)]


def _meet_cylinder(rays: FloatArray, start: FloatArray) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Distances and faces of a unit cylinder along the last axis, from -1 to 1."""
    dx, dy, dz = rays
    ox, oy, oz = start
    a = np.maximum(dx * dx + dy * dy, _EPSILON)
    closest = -(ox * dx + oy * dy) / a  # nearest point to the axis; numerically more exact than the discriminant
    x, y = ox + closest * dx, oy + closest * dy
    depth = 1 - x * x - y * y
    side = closest - np.sqrt(np.maximum(depth, 0) / a)
    side = np.where((depth > 0) & (side > 0) & (np.abs(oz + side * dz) <= 1), side, INFINITY)
    if abs(oz) <= 1:
        return side, np.zeros(side.shape, np.uint8)
    cap = (np.sign(oz) - oz) / dz  # only the end that faces the origin can be hit first
    x, y = ox + cap * dx, oy + cap * dy
    cap = np.where((cap > 0) & (x * x + y * y <= 1), cap, INFINITY)
    return np.minimum(side, cap), (cap < side).astype(np.uint8)


def _meet_ellipsoid(
    rays: FloatArray, start: FloatArray, leaves: tuple[float, float] | None
) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Distances of a unit sphere. leaves: for foliage, half height in metres and the primitive's ``variant``."""
    a = np.einsum("ij,ij->j", rays, rays)
    closest = -(start @ rays) / a
    middle = start[:, None] + closest * rays
    depth = 1 - np.einsum("ij,ij->j", middle, middle)
    distance = closest - np.sqrt(np.maximum(depth, 0) / a)
    hit = (depth > 0) & (distance > 0)
    if leaves is not None:
        # Near the outline leaves are sparse; the pattern is fixed to the surface, so all sensors see the same gaps.
        half_height, own = leaves
        x, y, z = start[:, None] + distance * rays
        size = np.float32(40.0) * half_height
        pattern = noise((x - y) * size + own * 300, z * size + own * 700)
        hit &= depth > np.maximum(np.float32(0.26) + np.float32(0.5) * pattern, np.float32(0.1))
    return np.where(hit, distance, INFINITY), np.zeros(distance.shape, np.uint8)
