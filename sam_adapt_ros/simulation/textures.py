"""Colours of the solids' surfaces: one function per texture, vectorized over the surface points of many solids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.noise import cell, noise
from sam_adapt_ros.simulation.primitives import FloatArray, Primitives, Shape, Texture


@dataclass
class Surface:
    """M points on solids. local: (3, M) metres in the solid's frame. normal: (3, M) unit vectors, world."""

    local: FloatArray
    half: FloatArray  # (3, M)
    normal: FloatArray
    face: NDArray[np.uint8]
    distance: FloatArray
    color: FloatArray  # (M, 3) first colour
    second: FloatArray  # (M, 3)
    layout: FloatArray  # (4, M)
    variant: FloatArray

    def detail(self, metres: float) -> FloatArray:
        """(M,) visibility, 0 to 1, of a pattern of that size at the points' distances."""
        return np.clip(metres * 120 / self.distance, 0, 1)


def surface(solids: Primitives, primitive: NDArray, face: NDArray, points: FloatArray, distance: FloatArray) -> Surface:
    """The surface at points (3, M) in world coordinates, metres."""
    offset = points - solids.center[primitive].T
    cos, sin = np.cos(solids.yaw)[primitive], np.sin(solids.yaw)[primitive]
    local = np.stack((cos * offset[0] + sin * offset[1], cos * offset[1] - sin * offset[0], offset[2]))
    half = solids.half[primitive].T
    shape = solids.shape[primitive]
    normal = solids.planes[primitive, np.minimum(face, 7), :3].T.copy()
    round_ = np.flatnonzero(shape != Shape.CONVEX)
    if len(round_):
        n = local[:, round_] / half[:, round_] ** 2
        kind, end = shape[round_], face[round_] > 0
        n[2, (kind == Shape.CYLINDER) & ~end] = 0
        n[1, (kind == Shape.WHEEL) & ~end] = 0
        n[:2, (kind == Shape.CYLINDER) & end] = 0
        n[::2, (kind == Shape.WHEEL) & end] = 0
        normal[:, round_] = n / np.maximum(np.sqrt((n * n).sum(0)), 1e-6)
    normal = np.stack((cos * normal[0] - sin * normal[1], sin * normal[0] + cos * normal[1], normal[2]))
    colors = solids.colors[primitive]
    return Surface(
        local,
        half,
        normal,
        face,
        distance,
        colors[:, 0],
        colors[:, 1],
        solids.layout[primitive].T,
        solids.variant[primitive],
    )


def paint(
    solids: Primitives, primitive: NDArray, face: NDArray, points: FloatArray, distance: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Albedo (M, 3), emitted light (M, 3) and normals (3, M) of the points."""
    albedo = np.empty((len(primitive), 3), np.float32)
    glow = np.zeros((len(primitive), 3), np.float32)
    normal = np.empty((3, len(primitive)), np.float32)
    kinds = solids.texture[primitive]
    for kind in np.flatnonzero(np.bincount(kinds, minlength=len(Texture))):
        rows = np.flatnonzero(kinds == kind)
        s = surface(solids, primitive[rows], face[rows], points[:, rows], distance[rows])
        albedo[rows], shine = _PAINTERS[Texture(int(kind))](s)
        if shine is not None:
            glow[rows] = shine
        normal[:, rows] = s.normal
    return albedo, glow, normal


Painted = tuple[FloatArray, "FloatArray | None"]
"""(M, 3) albedo, and (M, 3) emitted light where the texture has any."""


def _mix(a: FloatArray, b: FloatArray | tuple, where: NDArray) -> FloatArray:
    return np.where(where[:, None], np.asarray(b, np.float32), a)


def _plain(s: Surface) -> Painted:
    x, y, z = s.local
    return s.color * (1 + 0.12 * noise((x + y) * 20 + s.variant * 500, z * 20))[:, None], None


def _glass(s: Surface, pane: FloatArray) -> FloatArray:
    """(M, 3) albedo of window glass with reflections. pane: (M,) a random number per pane."""
    shade = 0.10 + 0.22 * pane + 0.10 * noise((s.local[0] + s.local[1]) * 12, s.local[2] * 6)
    return shade[:, None] * np.array((0.9, 1.0, 1.15), np.float32)


def _facade(s: Surface) -> Painted:
    x, y, z = s.local
    along_y = s.face < 2
    u, extent = np.where(along_y, y, x), np.where(along_y, s.half[1], s.half[0])
    height = z + s.half[2]
    storey, spacing, share, brick = s.layout
    columns = np.maximum(np.floor(2 * extent / spacing), 1)
    across = (u + extent) / (2 * extent) * columns
    up = height / storey
    column, row = np.floor(across), np.floor(up)
    pane = cell(column + np.floor(s.variant * 400) + s.face * 37, row * 3 + np.floor(s.variant * 90))
    across, up = np.abs(across - column - 0.5), up - row
    width = (2 * extent) / columns  # metres of a window's bay
    top = row < np.floor(2 * s.half[2] / storey)
    shop = (row == 0) & (s.variant > 0.6)
    w = np.where(shop, 0.43, share / 2)
    low, high = np.where(shop, 0.12, 0.30), np.where(shop, 0.74, 0.78)
    wall_face = s.face < 4
    frame = 0.10 / width
    rim = (across < w + frame) & (up > low - 0.04) & (up < high + 0.03) & top & wall_face
    glass = (across < w) & (up > low) & (up < high) & top & wall_face
    mullion = glass & (across < 0.02) & ~shop
    door = (row == 0) & (column == np.floor(s.variant * columns)) & (across < 0.55 / width) & (up < 0.66) & wall_face

    color = s.color * (1 + 0.12 * noise(u * 9 + s.variant * 300, height * 5))[:, None]
    fine = s.detail(0.12)
    joint = ((height * 4) % 1 < 0.2) | ((u * 2 + np.floor(height * 4) * 0.5) % 1 < 0.08)
    color *= (1 - 0.22 * fine * (joint & (brick > 0)))[:, None]
    color *= (0.72 + 0.28 * np.clip(height / 2.0, 0, 1))[:, None]
    cornice = (s.half[2] * 2 - height < 0.3) | ((up < 0.05) & (row > 0) & (s.variant < 0.5)) | (height < 0.45)
    color = np.where((cornice & wall_face)[:, None], s.second, color)
    color = np.where(rim[:, None], s.second * 0.5 + 0.4, color)
    color = np.where(glass[:, None], _glass(s, pane), color)
    color = np.where((glass & (pane > 0.72) & ~shop)[:, None], np.float32(0.55) + s.color * 0.25, color)  # curtains
    color = _mix(color, (0.5, 0.5, 0.5), mullion)
    color = np.where(door[:, None], s.second[:, ::-1] * 0.55, color)
    lit = glass & ~door & ((pane < 0.22) | (shop & (pane < 0.6)))
    glow = lit[:, None] * (np.array((0.85, 0.66, 0.38), np.float32) * (0.5 + 1.6 * pane[:, None]))
    return color, glow


def _roof(s: Surface) -> Painted:
    x, y, _ = s.local
    course = (np.abs(y) * 3.2) % 1
    fine = s.detail(0.15)
    shade = 1 - 0.25 * fine * (course < 0.25) + 0.15 * noise(x * 14 + s.variant * 400, y * 14)
    gable = s.face >= 5
    return np.where(gable[:, None], s.second * 0.8, s.color * shade[:, None]), None


def _lights(s: Surface, front: NDArray, rear: NDArray, color: FloatArray) -> Painted:
    outer = (np.abs(s.local[1]) > 0.58 * s.half[1]) & (np.abs(s.local[1]) < 0.95 * s.half[1])
    z = s.local[2] / s.half[2]
    head, tail = front & outer & (z > 0.0) & (z < 0.6), rear & outer & (z > 0.05) & (z < 0.8)
    grille = front & ~outer & (z > -0.45) & (z < 0.25)
    plate = rear & (np.abs(s.local[1]) < 0.26) & (z > -0.2) & (z < 0.15)
    color = _mix(_mix(color, (0.85, 0.86, 0.85), head | plate), (0.55, 0.06, 0.05), tail)
    color = _mix(color, (0.06, 0.06, 0.07), grille)
    glow = head[:, None] * np.array((1.3, 1.2, 1.0), np.float32) + tail[:, None] * np.array(
        (0.8, 0.06, 0.04), np.float32
    )
    return color, glow


def _car_body(s: Surface) -> Painted:
    x, _, z = s.local
    sides = s.face >= 6
    color = s.color * (1 + 0.05 * noise(x * 6 + s.variant * 300, z * 10))[:, None]
    bottom = z + s.half[2]
    arch = sides & (np.hypot(np.abs(x) - 0.64 * s.half[0], bottom + 0.05) < 0.42)
    seam = sides & ((np.abs(x - 0.08 * s.half[0]) < 0.02) | (np.abs(x + 0.36 * s.half[0]) < 0.02))
    color = np.where((seam | (bottom < 0.12))[:, None], color * 0.45, color)
    color = _mix(color, (0.03, 0.03, 0.03), arch)
    color += np.where(sides, 0.12 * np.clip(z / s.half[2], 0, 1), 0)[:, None].astype(np.float32)
    return _lights(s, s.face == 1, s.face == 5, color)


def _car_cabin(s: Surface) -> Painted:
    _, y, z = s.local / s.half
    rake, tail, rear_window, _ = s.layout
    up = (z + 1) / 2
    front_edge, rear_edge = s.half[0] - rake * up - 0.12, -s.half[0] + tail * up + 0.12
    sides = s.face >= 4
    pillar = np.abs(s.local[0] - 0.05 * s.half[0]) < 0.05
    pane = (np.abs(z + 0.02) < 0.78) & (s.local[0] < front_edge) & (s.local[0] > np.maximum(rear_edge, rear_window))
    glass = np.where(sides, pane & ~pillar, (np.abs(y) < 0.86) & (np.abs(z) < 0.84) & ((s.face == 1) | (s.face == 3)))
    color = np.where(glass[:, None], _glass(s, 0.35 + 0.45 * up), s.color * np.float32(1.0))
    return color, None


def _tyre(s: Surface) -> Painted:
    radius = np.hypot(s.local[0], s.local[2]) / s.half[0]
    spokes = np.cos(5 * np.arctan2(s.local[2], s.local[0])) > -0.5
    hub = (radius < 0.62) & (s.face == 1) & (spokes | (radius < 0.25))
    return np.where(hub[:, None], s.second, s.color), None


def _leaves(s: Surface) -> Painted:
    x, y, z = s.local
    near = noise((x - y) * 34 + s.variant * 500, (z + 0.7 * y) * 34 + s.variant * 200)
    broad = noise((x + y) * 9, z * 9 + s.variant * 300)
    share = np.clip(0.45 + 0.75 * near + 0.35 * broad, 0, 1)[:, None]
    color = s.color * (1 - share) + s.second * share
    gaps = np.clip((-0.25 - near) * 2.5, 0, 0.55) * s.detail(0.25)
    depth = 0.68 + 0.32 * np.clip(z / s.half[2], -1, 1)
    return color * ((1 - gaps) * depth)[:, None], None


def _bark(s: Surface) -> Painted:
    around = np.arctan2(s.local[1], s.local[0])
    return s.color * (1 + 0.4 * noise(around * 30 + s.variant * 300, s.local[2] * 8))[:, None], None


def _metal(s: Surface) -> Painted:
    z = s.local[2] + s.half[2]
    stain = 0.14 * noise(s.variant * 400 + z * 3, z * 25)
    return s.color * (1 + stain - 0.25 * (z < 0.5))[:, None], None


def _cloth(s: Surface) -> Painted:
    x, y, z = s.local
    color = np.where((z > 0.25 * s.half[2])[:, None], s.second, s.color)
    return color * (1 + 0.22 * noise((x + y) * 60 + s.variant * 500, z * 40))[:, None], None


def _lamp(s: Surface) -> Painted:
    return s.color, np.full((len(s.variant), 3), 1.4, np.float32) * np.array((1.0, 0.85, 0.6), np.float32)


def _sign(s: Surface) -> Painted:
    y, z = s.local[1] / s.half[1], s.local[2] / s.half[2]
    border = np.maximum(np.abs(y), np.abs(z)) > 0.82
    mark = (np.abs(y) < 0.25) & (np.abs(z) < 0.5)
    signal = s.layout[0] > 0
    back = s.face == 0
    color = np.where(((border | mark) & ~signal)[:, None], np.float32(0.82), s.color)
    color = np.where((back & ~signal)[:, None], np.float32(0.42), color)
    glow = np.zeros_like(color)
    on = np.floor(s.variant * 3)
    for k, lamp in enumerate(((0.9, 0.12, 0.08), (0.95, 0.7, 0.1), (0.1, 0.85, 0.4))):
        disc = signal & (np.hypot(y, (s.local[2] - (1 - k) * 0.28) / s.half[1]) < 0.62) & (s.face < 4)
        color = np.where(disc[:, None], np.array(lamp, np.float32) * np.where(on == k, 1, 0.25)[:, None], color)
        glow += (disc & (on == k))[:, None] * np.array(lamp, np.float32)
    return color, glow


_PAINTERS: dict[Texture, Callable[[Surface], Painted]] = {
    Texture.PLAIN: _plain,
    Texture.FACADE: _facade,
    Texture.ROOF: _roof,
    Texture.CAR_BODY: _car_body,
    Texture.CAR_CABIN: _car_cabin,
    Texture.TYRE: _tyre,
    Texture.LEAVES: _leaves,
    Texture.BARK: _bark,
    Texture.METAL: _metal,
    Texture.CLOTH: _cloth,
    Texture.LAMP: _lamp,
    Texture.SIGN: _sign,
}
