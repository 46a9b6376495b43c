"""Models of the objects in the simulated town, each assembled from a few solids.

A model's frame has its origin on the ground, x forward, z up, in metres. The front of a building is at -y.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.domains import Looks, Palette
from sam_adapt_ros.simulation.primitives import ModelBuilder, Primitives, Shape, Texture, prism_planes

BUILDING, VEGETATION, VEHICLE, PEDESTRIAN, POLE = 3, 4, 5, 6, 7  # class ids of the taxonomy
_DARK = (0.05, 0.05, 0.06)

VEHICLE_SIZES = {  # length, width, height
    "car": (4.3, 1.78, 1.48),
    "estate": (4.7, 1.84, 1.65),
    "van": (5.4, 2.0, 2.3),
    "truck": (7.6, 2.4, 3.1),
    "rickshaw": (2.8, 1.4, 1.85),
    "minibus": (6.2, 2.1, 2.7),
    "pickup": (5.0, 1.85, 1.75),
}


def pick(palette: Palette, rng: np.random.Generator, spread: float = 0.06) -> NDArray[np.float64]:
    """A colour of the palette with random variation: (3,) RGB in [0, 1]."""
    color = np.array(palette[rng.integers(len(palette))])
    return np.clip(color * rng.uniform(0.85, 1.15) + rng.normal(0, spread / 2, 3), 0.03, 0.95)


def building(
    rng: np.random.Generator, looks: Looks, width: float, depth: float, height: float, storey: float, gable: bool
) -> Primitives:
    """A building with windows on all sides, and a gable roof or a flat roof with a parapet."""
    wall = pick(looks.walls, rng)
    trim = np.clip(wall * rng.uniform(0.5, 0.8) if rng.random() < 0.5 else wall * 1.25, 0, 0.95)
    style = (storey, rng.uniform(*looks.window_spacing), rng.uniform(*looks.window_share), rng.random() < looks.brick)
    b = ModelBuilder(BUILDING, rng)
    half = (width / 2, depth / 2, height / 2)
    b.box((0, 0, height / 2), half, Texture.FACADE, wall, second=trim, layout=style)
    if gable:
        tiles = pick(((0.40, 0.20, 0.15), (0.25, 0.24, 0.25), (0.34, 0.26, 0.20)), rng)
        rise, eave = depth * rng.uniform(0.28, 0.42), 0.4
        w, d = width / 2 + eave, depth / 2 + eave
        profile = np.array([(-d, -0.2), (d, -0.2), (d, 0.0), (0.0, rise), (-d, 0.0)])
        roof = prism_planes(profile, w)[:, [1, 0, 2, 3]]  # the ridge runs along x
        b.add(Shape.CONVEX, (0, 0, height + 0.2), (w, d, rise), Texture.ROOF, tiles, second=wall, planes=roof)
        b.box(
            (width * rng.uniform(-0.3, 0.3), depth * 0.15, height + rise), (0.35, 0.35, 0.7), Texture.PLAIN, wall * 0.7
        )
    else:
        b.box((0, 0, height + 0.25), (half[0] + 0.15, half[1] + 0.15, 0.25), Texture.PLAIN, trim)
        if rng.random() < 0.5:
            size = (width * 0.2, depth * 0.2, 1.1)
            b.box((rng.uniform(-0.2, 0.2) * width, 0.1 * depth, height + 1.5), size, Texture.PLAIN, wall * 0.8)
    if rng.random() < 0.5:  # a porch, bay or awning at the front
        span = width * rng.uniform(0.12, 0.22)
        x = rng.uniform(-0.3, 0.3) * width
        bay = (span, 0.6, min(storey, height) * 0.42)
        b.box((x, -half[1] - 0.5, bay[2]), bay, Texture.PLAIN, trim)
    return b.build()


def tree(kind: str, rng: np.random.Generator, looks: Looks) -> Primitives:
    """A broadleaf or slim tree, a palm, a conifer or a bush."""
    leaf = pick(looks.leaves, rng)
    second = np.clip(leaf * rng.uniform(1.2, 1.5) + np.array((0.03, 0.02, 0)), 0, 1)
    bark = pick(((0.24, 0.18, 0.13), (0.34, 0.29, 0.24), (0.30, 0.28, 0.27)), rng, 0.02)
    b = ModelBuilder(VEGETATION, rng)

    def crown(center: tuple, half: tuple) -> None:
        b.add(Shape.FOLIAGE, center, half, Texture.LEAVES, leaf, second=second)

    def trunk(radius: float, height: float) -> None:
        b.add(Shape.CYLINDER, (0, 0, height / 2), (radius, radius, height / 2), Texture.BARK, bark)

    if kind == "bush":
        for _ in range(int(rng.integers(1, 4))):
            r, h = rng.uniform(0.5, 1.1), rng.uniform(0.4, 0.9)
            crown((rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.5), h * 0.8), (r, r * rng.uniform(0.8, 1.2), h))
    elif kind == "palm":
        height = rng.uniform(5.0, 8.0)
        trunk(rng.uniform(0.15, 0.22), height)
        for k in range(5):
            angle = 2 * np.pi * (k + rng.random() * 0.5) / 5
            crown((0.9 * np.cos(angle), 0.9 * np.sin(angle), height + rng.uniform(-0.3, 0.2)), (1.1, 1.1, 0.5))
    elif kind == "conifer":
        height, radius = rng.uniform(5.0, 9.0), rng.uniform(1.0, 1.6)
        trunk(0.16, height * 0.4)
        for k in range(7):
            share = k / 7
            r = radius * (1 - 0.9 * share)
            crown((0, 0, 1.1 + share * (height - 1.1)), (r, r, height * 0.13))
    else:
        slim = kind == "slim"
        height = rng.uniform(*looks.crown_base)
        trunk(rng.uniform(*(looks.slim_trunk_radius if slim else looks.trunk_radius)), height + 0.8)
        size = rng.uniform(0.8, 1.2) if slim else rng.uniform(1.3, 2.1)
        stretch = 1.9 if slim else 0.9
        crown((0, 0, height + size * stretch * 0.8), (size, size, size * stretch))
        for _ in range(2 if slim else 4):
            r = size * rng.uniform(0.55, 0.8)
            angle, lift = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.3)
            x, y = 0.7 * size * np.cos(angle), 0.7 * size * np.sin(angle)
            crown((x, y, height + size * stretch * lift), (r, r, r * stretch * 0.9))
    return b.build()


def hedge(rng: np.random.Generator, looks: Looks, length: float) -> Primitives:
    """A trimmed hedge along x, of the size of a garden wall."""
    leaf = pick(looks.leaves, rng)
    half = (length / 2, rng.uniform(0.3, 0.5), rng.uniform(*looks.boundary_height) / 2)
    return ModelBuilder(VEGETATION, rng).box((0, 0, half[2]), half, Texture.LEAVES, leaf, second=leaf * 1.35).build()


def garden_wall(rng: np.random.Generator, looks: Looks, length: float) -> Primitives:
    """A wall along x, of the size of a hedge."""
    color = pick(looks.walls, rng)
    half = (length / 2, rng.uniform(0.1, 0.4), rng.uniform(*looks.boundary_height) / 2)
    return ModelBuilder(BUILDING, rng).box((0, 0, half[2]), half, Texture.PLAIN, color, second=color * 0.7).build()


def shed(rng: np.random.Generator, looks: Looks) -> Primitives:
    """A container, kiosk or garden shed: a building of the size of a van or a lorry, its length along x."""
    color = pick(looks.paints if rng.random() < 0.5 else looks.walls, rng)
    half = (rng.uniform(1.2, 3.6), rng.uniform(0.8, 1.25), rng.uniform(1.0, 1.5))
    b = ModelBuilder(BUILDING, rng)
    b.box((0, 0, half[2] + 0.05), half, Texture.PLAIN, color, second=color * 0.6)
    if rng.random() < 0.4:
        b.box((0, 0, 2 * half[2] + 0.1), (half[0] + 0.15, half[1] + 0.15, 0.06), Texture.ROOF, color * 0.5)
    return b.build()


def vehicle(kind: str, rng: np.random.Generator, looks: Looks) -> Primitives:
    """A vehicle of a kind in VEHICLE_SIZES: body, cabin with windows, wheels."""
    paint = pick(looks.paints, rng)
    length, width, height = (s * rng.uniform(0.95, 1.05) for s in VEHICLE_SIZES[kind])
    b = ModelBuilder(VEHICLE, rng)
    lx, wy = length / 2, width / 2
    wheel = 0.33 if kind in ("car", "estate", "pickup") else 0.25 if kind == "rickshaw" else 0.42
    floor = wheel * 0.6

    def body(front: float, rear: float, top: float, bottom: float = floor, slope: float = 0.15) -> None:
        """The lower, painted part between x = rear and x = front."""
        middle, h = (front + rear) / 2, (top - bottom) / 2
        e = (front - rear) / 2
        outline = [(-e, -h), (e, -h), (e, h - 2 * slope), (e - 2 * slope, h), (-e + slope, h), (-e, h - slope)]
        b.prism((middle, 0, bottom + h), np.array(outline), wy, Texture.CAR_BODY, paint)

    def cabin(front: float, rear: float, bottom: float, top: float, rake: float, tail: float) -> None:
        """The part with windows. rake, tail: horizontal extent of the sloped windscreen and rear window, metres."""
        middle, h = (front + rear) / 2, (top - bottom) / 2
        e = (front - rear) / 2
        outline = np.array([(-e, -h), (e, -h), (e - rake, h), (-e + tail, h)])
        layout = (rake, tail, 0.35 * e if kind == "van" else -e, 0)  # vans have no windows behind the front seats
        b.prism((middle, 0, bottom + h), outline, wy * 0.93, Texture.CAR_CABIN, paint, layout=layout)

    if kind in ("car", "estate"):
        belt = height * 0.60
        body(lx, -lx, belt)
        cabin(lx * 0.45, -lx * (0.75 if kind == "car" else 0.98), belt, height, 0.75, 0.55 if kind == "car" else 0.25)
    elif kind in ("van", "minibus"):
        belt = height * 0.52
        body(lx, -lx, belt, slope=0.08)
        cabin(lx * (0.80 if kind == "van" else 0.98), -lx * 0.99, belt, height, 0.5 if kind == "van" else 0.2, 0.05)
    elif kind == "truck":
        body(lx, lx - 2.0, 1.4, slope=0.05)
        cabin(lx - 0.05, lx - 2.0, 1.4, 2.5, 0.25, 0.0)
        box = pick(looks.paints, rng)
        half = ((length - 2.2) / 2, wy, (height - 0.9) / 2)
        b.box((-lx + half[0], 0, 0.9 + half[2]), half, Texture.PLAIN, box, second=box * 0.6)
        b.box((-lx + half[0], 0, 0.75), (half[0], wy * 0.6, 0.15), Texture.PLAIN, _DARK)
    elif kind == "pickup":
        body(lx, -lx, height * 0.55)
        cabin(lx * 0.45, -lx * 0.15, height * 0.55, height, 0.6, 0.15)
    else:  # rickshaw
        body(lx, -lx, 0.85, slope=0.12)
        cabin(lx * 0.7, -lx, 0.85, 1.6, 0.35, 0.1)
        b.box((-0.15 * lx, 0, 1.7), (lx * 0.85, wy, 0.12), Texture.PLAIN, pick(looks.paints, rng))
    axles = (-0.62 * lx, 0.66 * lx)
    for x in axles:
        for y in (-wy + 0.1, wy - 0.1):
            b.add(Shape.WHEEL, (x, y, wheel), (wheel, 0.13, wheel), Texture.TYRE, _DARK, second=(0.5, 0.5, 0.52))
    return b.build()


def pedestrian(rng: np.random.Generator, looks: Looks, walking: bool) -> Primitives:
    """A person: head, trunk, swinging arms, and swinging legs or a robe."""
    scale = rng.uniform(0.88, 1.08)
    top, bottom = pick(looks.clothes, rng), pick(looks.clothes, rng)
    skin = pick(((0.62, 0.45, 0.35), (0.45, 0.30, 0.22), (0.30, 0.20, 0.15)), rng)
    hair = pick(((0.10, 0.08, 0.07), (0.35, 0.25, 0.15), (0.5, 0.5, 0.5)), rng)
    stride = 0.2 if walking else 0.0
    b = ModelBuilder(PEDESTRIAN, rng)

    def part(
        x: float, y: float, z: float, half: tuple, color: NDArray, swing: float = 0.0, second: NDArray = hair
    ) -> None:
        half = tuple(scale * h for h in half)
        center = (x * scale, y * scale, z * scale)
        b.add(Shape.ELLIPSOID, center, half, Texture.CLOTH, color, second=second, swing=swing)

    if rng.random() < looks.robes:
        b.add(Shape.CYLINDER, (0, 0, 0.55 * scale), (0.21, 0.21, 0.53 * scale), Texture.CLOTH, bottom, second=bottom)
    else:
        still = 0.0 if walking else 0.04
        part(still, 0.10, 0.45, (0.10, 0.10, 0.47), bottom, stride, bottom)
        part(-still, -0.10, 0.45, (0.10, 0.10, 0.47), bottom, -stride, bottom)
    part(0, 0, 1.15, (0.16, 0.23, 0.36), top, 0.0, top)
    part(0, 0.25, 1.12, (0.08, 0.07, 0.32), top, -stride * 0.8, top)
    part(0, -0.25, 1.12, (0.08, 0.07, 0.32), top, stride * 0.8, top)
    part(0, 0, 1.62, (0.11, 0.10, 0.14), skin, 0.0, hair)
    return b.build()


def pole(kind: str, rng: np.random.Generator, looks: Looks) -> Primitives:
    """A street lamp, sign, traffic light, utility pole or bollard; its arm points to +y."""
    color = pick(looks.poles, rng, 0.03)
    radius = rng.uniform(*looks.pole_radius)
    b = ModelBuilder(POLE, rng)

    def mast(height: float, r: float = radius) -> None:
        b.add(Shape.CYLINDER, (0, 0, height / 2), (r, r, height / 2), Texture.METAL, color)

    if kind == "lamp":
        height, reach = rng.uniform(5.0, 7.5), rng.uniform(0.8, 1.8)
        mast(height)
        b.box((0, reach / 2, height - 0.1), (0.07, reach / 2, 0.07), Texture.METAL, color)
        b.box((0, reach, height - 0.2), (0.16, 0.38, 0.09), Texture.LAMP, (0.8, 0.8, 0.75))
    elif kind == "utility":
        wood = pick(((0.36, 0.28, 0.20), (0.45, 0.38, 0.30)), rng, 0.02)
        height = rng.uniform(6.5, 9.0)
        r = max(radius, 0.13)
        b.add(Shape.CYLINDER, (0, 0, height / 2), (r, r, height / 2), Texture.BARK, wood)
        b.box((0, 0, height - 0.6), (0.09, 1.0, 0.09), Texture.BARK, wood)
    elif kind == "signal":
        mast(3.2)
        b.box((0, 0.0, 3.0), (0.17, 0.17, 0.45), Texture.SIGN, (0.10, 0.11, 0.10), layout=(1, 0, 0, 0))
    elif kind == "bollard":
        mast(rng.uniform(0.85, 1.1))
    else:  # sign
        height = rng.uniform(2.3, 2.9)
        mast(height, radius * 0.9)
        plate = pick(((0.75, 0.12, 0.10), (0.10, 0.25, 0.60), (0.85, 0.82, 0.75), (0.80, 0.65, 0.10)), rng)
        size = rng.uniform(0.28, 0.4)
        b.box((-radius - 0.04, 0, height - size), (0.04, size, size), Texture.SIGN, plate)
    return b.build()
