"""Camera models: a point in the camera's optical frame <-> a pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.distortion import DistortionModel, Equidistant, Pinhole, RadialTangential

MIN_DEPTH = 0.1
"""Metres. Points whose depth is not larger than this count as not seen."""
_LARGEST = 1e9
"""Of intrinsics: what is beyond it is garbage, and would overflow in products."""


class Distortion(str, Enum):
    """Distortion models, by their names in ``sensor_msgs/distortion_models.hpp``."""

    NONE = "none"
    PLUMB_BOB = "plumb_bob"
    RATIONAL_POLYNOMIAL = "rational_polynomial"
    EQUIDISTANT = "equidistant"


_MODELS: dict[Distortion, tuple[Callable[[tuple[float, ...]], DistortionModel], tuple[int, ...]]] = {
    Distortion.NONE: (Pinhole, (0,)),
    Distortion.PLUMB_BOB: (RadialTangential, (4, 5)),
    Distortion.RATIONAL_POLYNOMIAL: (RadialTangential, (8,)),
    Distortion.EQUIDISTANT: (Equidistant, (4,)),
}
"""Each with the numbers of coefficients that it takes."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """Intrinsics of one image. Optical frame (REP 103): x right, y down, z forward. Pixel centres are at integers.

    width, height: pixels.
    K: (3, 3) float64, [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels.
    distortion, D: model and its coefficients in OpenCV's order: plumb_bob k1 k2 p1 p2 [k3]; rational_polynomial
        k1 k2 p1 p2 k3 k4 k5 k6; equidistant k1 k2 k3 k4. Zeros beyond these are cut off.

    Raises CalibrationError that names the field that does not fit.
    """

    width: int
    height: int
    K: NDArray[np.float64]
    distortion: Distortion = Distortion.NONE
    D: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        K = np.array(self.K, np.float64)
        if self.width < 1 or self.height < 1:
            raise CalibrationError(f"camera width x height: positive sizes expected, got {self.width} x {self.height}")
        if K.shape != (3, 3) or not (np.abs(K) <= _LARGEST).all():
            text = np.array2string(K)
            raise CalibrationError(f"camera matrix K: 3 x 3 finite numbers up to {_LARGEST:g} expected, got {text}")
        if K[0, 0] <= 0 or K[1, 1] <= 0:
            raise CalibrationError(f"camera matrix K: positive focal lengths expected, got {K[0, 0]} and {K[1, 1]}")
        if K[1, 0] != 0 or not np.array_equal(K[2], (0, 0, 1)):
            raise CalibrationError(f"camera matrix K: [[fx s cx] [0 fy cy] [0 0 1]] expected, got {K.tolist()}")
        K.setflags(write=False)
        kind = Distortion(self.distortion)
        D = _fitted(kind, tuple(float(value) for value in self.D))
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "distortion", kind)
        object.__setattr__(self, "D", D)

    def project(self, points_camera: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Projects points into the image.

        points_camera: (N, 3) metres in the optical frame; rows may be non-finite.

        Returns ``uv`` (N, 2) float32 pixels, ``depth`` (N,) float32 = z in metres, and ``valid`` (N,) bool: deeper than
        MIN_DEPTH, inside the image (-0.5 <= u < width - 0.5), and within the domain of the distortion model, so that
        no point folds back into the image. ``uv`` and ``depth`` are meaningless where not valid.
        """
        x, y, z = np.ascontiguousarray(np.asarray(points_camera, np.float32).T)
        uv = np.full((len(z), 2), np.nan, np.float32)
        valid = np.zeros(len(z), bool)
        slope_x, slope_y = self._slopes
        with np.errstate(invalid="ignore", over="ignore"):
            # Points outside the image's bounding pyramid are sorted out first, because most are.
            ahead = (z > MIN_DEPTH) & (z < np.inf)
            index = np.flatnonzero(ahead & (np.abs(x) <= slope_x * z) & (np.abs(y) <= slope_y * z))
            inverse = np.float32(1) / z[index]
            a, b, holds = self._distortion.distort(x[index] * inverse, y[index] * inverse)
            fx, skew, cx, fy, cy = self._pinhole
            u = fx * a + cx if skew == 0 else fx * a + skew * b + cx
            v = fy * b + cy
            inside = (u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5)
        if holds is not None:
            inside &= holds
        index = index[inside]
        uv[index, 0], uv[index, 1] = u[inside], v[inside]
        valid[index] = True
        return uv, z, valid

    def unproject(self, uv: ArrayLike, depth: ArrayLike) -> NDArray[np.float64]:
        """The inverse of ``project``.

        uv: (N, 2) pixels; depth: (N,) or scalar, metres along z.

        Returns (N, 3) float64 metres in the optical frame; NaN where no ray within the distortion model's domain meets
        the pixel.
        """
        pixels = np.asarray(uv, np.float64)
        b = (pixels[:, 1] - self.K[1, 2]) / self.K[1, 1]
        a = (pixels[:, 0] - self.K[0, 2] - self.K[0, 1] * b) / self.K[0, 0]
        x, y = self._distortion.undistort(a, b)
        depth = np.broadcast_to(np.asarray(depth, np.float64), x.shape)
        return np.stack([x * depth, y * depth, depth], axis=1)

    def scaled(self, width: int, height: int) -> CameraModel:
        """The model of the same image resized to width x height pixels (the image's outer edges stay in place)."""
        return self.transformed(width / self.width, height / self.height, width, height)

    def transformed(
        self, scale_x: float, scale_y: float, width: int, height: int, left: float = 0.0, top: float = 0.0
    ) -> CameraModel:
        """The model of the image after ``left`` and ``top`` pixels are cut off and the rest is scaled.

        Pixel centres are at integers, so a coordinate u becomes (u - left + 0.5) * scale_x - 0.5.
        """
        K = self.K.copy()
        K[0] *= scale_x
        K[1] *= scale_y
        K[0, 2] = (self.K[0, 2] - left + 0.5) * scale_x - 0.5
        K[1, 2] = (self.K[1, 2] - top + 0.5) * scale_y - 0.5
        return CameraModel(width, height, K, self.distortion, self.D)

    @cached_property
    def _distortion(self) -> DistortionModel:
        make, _ = _MODELS[self.distortion]
        return make(self.D)

    @cached_property
    def _pinhole(self) -> tuple[np.float32, ...]:
        return tuple(np.float32(self.K[i, j]) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))

    @cached_property
    def _slopes(self) -> tuple[np.float32, np.float32]:
        """Bounds on |x / z| and |y / z| of what the image shows, with some slack; found along the image's border."""
        u = np.linspace(-0.5, self.width - 0.5, 65)
        v = np.linspace(-0.5, self.height - 0.5, 65)
        rows = [np.column_stack([u, np.full_like(u, end)]) for end in v[[0, -1]]]
        columns = [np.column_stack([np.full_like(v, end), v]) for end in u[[0, -1]]]
        rays = self.unproject(np.concatenate([*rows, *columns]), 1.0)
        limit = self._distortion.slope_limit
        if not np.isfinite(rays).all():  # no ray meets some of the pixels: all of the model's domain may be imaged
            return np.float32(limit), np.float32(limit)
        # A tenth more than the border shows: the distortion may bulge between the samples.
        slopes = np.minimum(1.1 * np.abs(rays[:, :2]).max(axis=0) + 0.01, limit)
        return np.float32(slopes[0]), np.float32(slopes[1])


def _fitted(kind: Distortion, D: tuple[float, ...]) -> tuple[float, ...]:
    """The coefficients, with trailing zeros that the model does not have cut off."""
    _, counts = _MODELS[kind]
    if not (np.abs(D) <= _LARGEST).all():
        raise CalibrationError(f"distortion coefficients D: finite numbers up to {_LARGEST:g} expected, got {D}")
    if len(D) > counts[-1] and not any(D[counts[-1] :]):
        D = D[: counts[-1]]
    if len(D) not in counts:
        expected = " or ".join(map(str, counts))
        raise CalibrationError(f"distortion coefficients D: {expected} expected for {kind.value}, got {len(D)}")
    return D
