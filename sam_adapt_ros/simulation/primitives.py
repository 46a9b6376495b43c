"""Solids as arrays, from which all models of the simulated town are assembled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Union

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Vector = Union[Sequence[float], NDArray]  # noqa: UP007 - evaluated at import; three numbers

MAX_PLANES = 8


class Shape(IntEnum):
    """Geometry of a primitive. All are upright: a primitive's frame is the world's, rotated by yaw."""

    CONVEX = 0  # intersection of up to eight half-spaces
    CYLINDER = 1  # axis along z
    WHEEL = 2  # cylinder whose axis is y
    ELLIPSOID = 3
    FOLIAGE = 4  # ellipsoid with an irregular outline


class Texture(IntEnum):
    """How the surface of a primitive is coloured; see ``textures``."""

    PLAIN = 0
    FACADE = 1
    ROOF = 2
    CAR_BODY = 3
    CAR_CABIN = 4
    TYRE = 5
    LEAVES = 6
    BARK = 7
    METAL = 8
    CLOTH = 9
    LAMP = 10  # a light source at night
    SIGN = 11


@dataclass
class Primitives:
    """P solids, in one common frame.

    shape, texture, class_id: (P,) uint8. instance: (P,) uint16, 0 until placed.
    center: (P, 3) float32, metres. yaw: (P,) float32, radians. half: (P, 3) float32 half sizes in the solid's frame.
    planes: (P, 8, 4) float32 rows (n, d) with n . x <= d inside; unused rows are (0, 0, 0, 1).
    colors: (P, 2, 3) float32 in [0, 1]; the texture defines the use of the second colour.
    layout: (P, 4) float32 texture parameters.
    variant: (P,) float32 in [0, 1), a random number that varies textures between primitives.
    swing: (P,) float32, amplitude in metres of the forward and backward motion of walking limbs.
    """

    shape: NDArray[np.uint8]
    texture: NDArray[np.uint8]
    class_id: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    center: FloatArray
    yaw: FloatArray
    half: FloatArray
    planes: FloatArray
    colors: FloatArray
    layout: FloatArray
    variant: FloatArray
    swing: FloatArray

    def __len__(self) -> int:
        return len(self.shape)

    def select(self, keep: NDArray | slice) -> Primitives:
        """The primitives at ``keep``, a boolean mask, indices or a slice."""
        return Primitives(*(getattr(self, f.name)[keep] for f in fields(self)))

    def placed(self, position: Vector, yaw: float, instance: int) -> Primitives:
        """The model with its origin at ``position`` (world, metres), rotated by ``yaw`` radians."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        x, y, z = self.center.T
        center = np.stack((cos * x - sin * y + position[0], sin * x + cos * y + position[1], z + position[2]), 1)
        changed = {
            "center": center.astype(np.float32),
            "yaw": self.yaw + np.float32(yaw),
            "instance": np.full(len(self), instance, np.uint16),
        }
        return Primitives(*(changed.get(f.name, getattr(self, f.name)) for f in fields(self)))

    @staticmethod
    def concatenate(parts: Sequence[Primitives]) -> Primitives:
        """All primitives of ``parts``, in order."""
        return Primitives(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Primitives)))


class ModelBuilder:
    """Collects primitives of one class into a model."""

    def __init__(self, class_id: int, rng: np.random.Generator) -> None:
        self._class_id = class_id
        self._rng = rng
        self._rows: list[tuple] = []

    def add(
        self,
        shape: Shape,
        center: Vector,
        half: Vector,
        texture: Texture,
        color: Vector,
        second: Vector = (0.5, 0.5, 0.5),
        planes: NDArray | None = None,
        layout: Sequence[float] = (0, 0, 0, 0),
        yaw: float = 0.0,
        swing: float = 0.0,
    ) -> ModelBuilder:
        """Adds one solid; coordinates are in the model's frame, metres."""
        rows = np.zeros((MAX_PLANES, 4), np.float32)
        rows[:, 3] = 1
        if planes is not None:
            rows[: len(planes)] = planes
        variant = self._rng.random()
        row = (shape, texture, self._class_id, 0, center, yaw, half, rows, (color, second), layout, variant, swing)
        self._rows.append(row)
        return self

    def box(self, center: Vector, half: Vector, texture: Texture, color: Vector, **more) -> ModelBuilder:
        """Adds an axis-aligned box; ``half``: half sizes, metres."""
        return self.add(Shape.CONVEX, center, half, texture, color, planes=box_planes(half), **more)

    def prism(
        self, center: Vector, profile: NDArray, half_width: float, texture: Texture, color: Vector, **more
    ) -> ModelBuilder:
        """Adds a convex outline in x and z, counter-clockwise about -y (x right, z up), extruded along y.

        profile: (K, 2) metres relative to center, K <= 6.
        """
        half = (np.abs(profile[:, 0]).max(), half_width, np.abs(profile[:, 1]).max())
        planes = prism_planes(profile, half_width)
        return self.add(Shape.CONVEX, center, half, texture, color, planes=planes, **more)

    def build(self) -> Primitives:
        """The model's primitives."""
        types = (np.uint8, np.uint8, np.uint8, np.uint16) + (np.float32,) * 8
        return Primitives(*(np.array(c, t) for c, t in zip(zip(*self._rows, strict=True), types, strict=True)))


def box_planes(half: Vector) -> FloatArray:
    """(6, 4) planes of a box: +x, -x, +y, -y, +z, -z."""
    planes = np.zeros((6, 4), np.float32)
    for axis in range(3):
        planes[2 * axis, axis], planes[2 * axis + 1, axis] = 1, -1
        planes[2 * axis : 2 * axis + 2, 3] = half[axis]
    return planes


def prism_planes(profile: NDArray, half_width: float) -> FloatArray:
    """(K + 2, 4) planes of a prism: one per edge of the outline, then +y and -y."""
    edges = np.roll(profile, -1, axis=0) - profile
    normals = np.stack((edges[:, 1], -edges[:, 0]), 1) / np.linalg.norm(edges, axis=1, keepdims=True)
    planes = np.zeros((len(profile) + 2, 4), np.float32)
    planes[:-2, [0, 2]] = normals
    planes[:-2, 3] = (normals * profile).sum(1)
    planes[-2:, 1] = 1, -1
    planes[-2:, 3] = half_width
    return planes
