"""The sensors' ray grids, and the part of a grid in which a solid can appear."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.primitives import FloatArray

_EDGES = np.array([(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit])
_SAMPLES = 9  # points taken along an edge


class RayGrid(Protocol):
    """A sensor's rays on a grid of rows and columns."""

    directions: FloatArray  # (3, H, W) unit vectors in the sensor's frame
    wraps: bool  # whether the last column is next to the first

    def rectangles(self, corners: FloatArray) -> NDArray[np.int64]:
        """(P, 8, 3) corners of boxes in the sensor's frame -> (P, 4) row and column bounds (r0, r1, c0, c1), half open.

        Every ray that hits a box is within its rectangle. c1 may exceed W where columns wrap.
        """


class PinholeGrid:
    """Rays through the pixel centres (integers) of a pinhole camera; optical frame (z forward, x right, y down)."""

    wraps = False

    def __init__(self, width: int, height: int, focal: tuple[float, float], cx: float, cy: float) -> None:
        """focal: horizontal and vertical, pixels."""
        self.width, self.height, self.focal, self.cx, self.cy = width, height, focal, cx, cy
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        rays = np.stack(((u - cx) / focal[0], (v - cy) / focal[1], np.ones_like(u, float)))
        self.directions = (rays / np.linalg.norm(rays, axis=0)).astype(np.float32)

    def rectangles(self, corners: FloatArray) -> NDArray[np.int64]:
        near = 0.02
        a, b = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
        crosses = (a[..., 2] > near) != (b[..., 2] > near)
        share = np.where(crosses, (near - a[..., 2]) / np.where(crosses, b[..., 2] - a[..., 2], 1), 0)[..., None]
        points = np.concatenate((corners, a + share * (b - a)), 1)
        usable = np.concatenate((corners[..., 2] > near, crosses), 1)
        z = np.where(usable, np.maximum(points[..., 2], near), 1)
        u = points[..., 0] / z * self.focal[0] + self.cx
        v = points[..., 1] / z * self.focal[1] + self.cy

        def bounds(x: NDArray, size: int) -> tuple[NDArray, NDArray]:
            low, high = np.where(usable, x, 1e6).min(1), np.where(usable, x, -1e6).max(1)
            return np.clip(np.ceil(low - 0.01), 0, size), np.clip(np.floor(high + 0.01) + 1, 0, size)

        return np.stack((*bounds(v, self.height), *bounds(u, self.width)), 1).astype(np.int64)


class SpinningGrid:
    """Rays of a spinning LiDAR (x forward, z up): one row per beam, highest first; one column per azimuth from -pi."""

    wraps = True

    def __init__(self, elevations: NDArray, columns: int) -> None:
        self.elevations = np.sort(np.asarray(elevations, float))[::-1]
        self.columns = columns
        azimuth = -np.pi + (np.arange(columns) + 0.5) * (2 * np.pi / columns)
        el, az = self.elevations[:, None], azimuth[None]
        rays = np.broadcast_arrays(np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el))
        self.directions = np.stack(rays).astype(np.float32)

    def rectangles(self, corners: FloatArray) -> NDArray[np.int64]:
        rectangles = np.empty((len(corners), 4), np.int64)
        middle = corners.mean(1)
        size = np.abs(corners - middle[:, None]).max((1, 2))
        far = (middle**2).sum(1) > (8 * size) ** 2
        # A box's extremes of azimuth and elevation lie on its edges; edges of near boxes are sampled, with a margin.
        rectangles[far] = self._bounds(corners[far], middle[far], 0.004)
        share = np.linspace(0, 1, _SAMPLES, dtype=np.float32)[None, None, :, None]
        a, b = corners[~far][:, _EDGES[:, 0], None], corners[~far][:, _EDGES[:, 1], None]
        rectangles[~far] = self._bounds(
            (a + share * (b - a)).reshape(len(a), len(_EDGES) * _SAMPLES, 3), middle[~far], 0.02
        )
        return rectangles

    def _bounds(self, points: FloatArray, middle: FloatArray, margin: float) -> NDArray[np.int64]:
        """Rectangles of points (P, S, 3); margin: radians of elevation."""
        if not len(points):
            return np.empty((0, 4), np.int64)
        x, y, z = np.moveaxis(points, 2, 0)
        middle_azimuth = np.arctan2(middle[:, 1], middle[:, 0])
        cos, sin = np.cos(middle_azimuth)[:, None], np.sin(middle_azimuth)[:, None]
        offset = np.arctan2(cos * y - sin * x, cos * x + sin * y)
        step = 2 * np.pi / self.columns
        low, high = offset.min(1) - 0.02 * step, offset.max(1) + 0.02 * step
        around = high - low > np.pi
        c0 = np.ceil((middle_azimuth + low + np.pi) / step - 0.5).astype(np.int64)
        c1 = np.floor((middle_azimuth + high + np.pi) / step - 0.5).astype(np.int64) + 1
        width = np.where(around, self.columns, np.minimum(c1 - c0, self.columns))
        c0 = np.where(around, 0, c0 % self.columns)
        elevation = np.arctan2(z, np.hypot(x, y))
        low, high = elevation.min(1) - margin, elevation.max(1) + margin
        high = np.where(high > 0.3, np.pi / 2, high)  # close to a tall solid the samples are too sparse
        low = np.where(low < -0.3, -np.pi / 2, low)
        ascending = -self.elevations
        r0 = np.searchsorted(ascending, -high)
        r1 = np.searchsorted(ascending, -low, side="right")
        return np.stack((r0, r1, c0, c0 + width), 1)
