"""The vehicle's sensors: their poses, and how they turn ray hits into a sweep and an image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.geometry import CameraModel
from sam_adapt_ros.simulation.domains import CameraRig, LidarRig
from sam_adapt_ros.simulation.grids import PinholeGrid, SpinningGrid
from sam_adapt_ros.simulation.models import VEGETATION
from sam_adapt_ros.simulation.primitives import FloatArray, Shape
from sam_adapt_ros.simulation.street import SIDEWALK, TERRAIN
from sam_adapt_ros.simulation.trace import NONE, Trace

_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation from the optical frame (x right, y down, z forward) to a frame with x forward, y left, z up."""


_NEAR_INFRARED = np.array([0.2, 0.26, 0.45, 0.0, 0.5, 0.0], np.float32)
"""Albedo for the LiDAR's light by class id, from road to vegetation; 0: by the colour of its paint."""
_RAIN_EXTINCTION = 0.02  # per metre, there and back
_WET_GROUND = 0.3  # share of the light that a wet, mirroring road still sends back
_DROPS = 0.01  # share of the beams that end at a drop


@dataclass(frozen=True)
class Sweep:
    """One LiDAR sweep.

    points: (N, 3) float32 metres, LiDAR frame. intensity: (N,) float32, 0 to 255. ring: (N,) uint16, 0 = lowest beam.
    class_id: (N,) uint8 and instance: (N,) uint16, exact.
    """

    points: FloatArray
    intensity: FloatArray
    ring: NDArray[np.uint16]
    class_id: NDArray[np.uint8]
    instance: NDArray[np.uint16]


class Camera:
    """The camera of a rig. T_base_camera: (4, 4) pose of its optical frame in base_link."""

    def __init__(self, rig: CameraRig) -> None:
        self.rig = rig
        cx, cy = (rig.width - 1) / 2, (rig.height - 1) / 2
        focal = rig.focal, rig.focal * rig.aspect
        self.grid = PinholeGrid(rig.width, rig.height, focal, cx, cy)
        K = np.array([[focal[0], 0, cx], [0, focal[1], cy], [0, 0, 1]])
        self.model = CameraModel(rig.width, rig.height, K)
        v, u = np.ogrid[-1 : 1 : rig.height * 1j, -1 : 1 : rig.width * 1j]
        corner = ((u * u + v * v) / 2)[..., None]
        self._gain = ((1 - rig.vignette * corner) * np.array(rig.balance)).astype(np.float32)
        self.T_base_camera = np.eye(4)
        self.T_base_camera[:3, :3] = rotation(rig.yaw, rig.pitch, 0.0) @ _OPTICAL
        self.T_base_camera[:3, 3] = rig.position

    def expose(
        self, colors: FloatArray, exposure: float, night: bool, rain: bool, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """The (H, W, 3) uint8 RGB image of (H, W, 3) scene colours (1 = white), with lens blur and sensor noise.

        exposure: factor on the light. rain: drops on the lens.
        """
        image = cv2.GaussianBlur(colors, (0, 0), 0.95 if night else 0.5)
        if rain:
            image = _behind_drops(np.asarray(image, np.float32), rng.spawn(1)[0])
        image = image * (self._gain * np.float32(exposure))
        grain = rng.standard_normal(image.shape, np.float32)
        if night:  # high gain, so noise grows with the signal; daylight white balance
            halo = cv2.GaussianBlur(np.maximum(image - 0.75, 0), (0, 0), 6)
            image = image + 0.6 * halo
            image = np.maximum(image, 0) * np.array((1.12, 0.95, 0.78), np.float32)
            root = np.sqrt(image)
            image = np.sqrt(image * root) + grain * (0.022 + 0.045 * root)  # tone curve: power of 3/4
        else:
            image = image + grain * np.float32(0.012)
        grey = image @ np.array((0.3, 0.59, 0.11), np.float32)
        image = grey[..., None] + (image - grey[..., None]) * np.float32(self.rig.saturation)
        image = np.clip(image, 0, 1)
        levels = np.float32(255) * (np.arange(4096, dtype=np.float32) / 4095) ** np.float32(self.rig.gamma)
        return np.rint(levels).astype(np.uint8)[(image * 4095).astype(np.uint16)]


class Lidar:
    """The LiDAR of a rig. T_base_lidar: (4, 4) pose in base_link."""

    def __init__(self, rig: LidarRig, grass: float, rain: bool) -> None:
        """grass: length of the blades, metres. rain: beams meet drops and wet surfaces."""
        self.rig, self._grass, self._rain = rig, grass, rain
        self.grid = SpinningGrid(np.deg2rad(np.linspace(rig.lowest, rig.highest, rig.beams)), rig.columns)
        self.T_base_lidar = np.eye(4)
        self.T_base_lidar[:3, :3] = rotation(0.0, *np.deg2rad((rig.pitch, rig.roll)))
        self.T_base_lidar[:3, 3] = rig.position

    def sweep(self, trace: Trace, rng: np.random.Generator) -> Sweep:
        """The returns that are detected, with range noise; it is larger in foliage and grass, which beams enter."""
        n = trace.distance.size
        spread, lost = rng.standard_normal(n, np.float32), rng.random(n, np.float32)
        depth = rng.random(n, np.float32)
        (weather,) = rng.spawn(1)
        fading = weather.standard_normal(n, np.float32)
        hit = np.flatnonzero(
            (trace.distance < self.rig.max_range) & (trace.class_id != NONE) & (lost >= self.rig.dropout)
        )
        albedo, cosine = _albedo(trace, hit), _incidence(trace, hit)
        strength = albedo * cosine / np.maximum(trace.distance[hit], 1) ** 2 * np.exp(0.5 * fading[hit])
        if self._rain:
            strength *= np.exp(-_RAIN_EXTINCTION * trace.distance[hit])
            strength[trace.class_id[hit] <= SIDEWALK] *= _WET_GROUND
        detected = strength > self.rig.sensitivity
        kept, albedo, cosine = hit[detected], albedo[detected], cosine[detected]
        class_id, instance = trace.class_id[kept], trace.instance[kept]
        rays = self.grid.directions.reshape(3, -1)[:, kept]
        distance = self._mixed(trace, kept, weather) + self.rig.noise * spread[kept]
        distance += np.where(class_id == VEGETATION, 0.25 * depth[kept] ** 2, 0).astype(np.float32)
        blade = self._grass * depth[kept] / np.maximum(np.abs(trace.directions[2, kept]), 0.12)
        distance -= np.where(class_id == TERRAIN, blade, 0).astype(np.float32)
        if self._rain:  # some beams end at a drop near the sensor: nothing that has a class
            drop = weather.random(len(kept), np.float32) < _DROPS
            near = 1.5 + 6 * weather.random(len(kept), np.float32)
            drop &= near < distance
            distance = np.where(drop, near, distance)
            class_id, instance = np.where(drop, np.uint8(NONE), class_id), np.where(drop, np.uint16(0), instance)
        intensity = np.clip(255 * albedo * np.sqrt(cosine) * (0.9 + 0.1 * spread[kept]), 0, 255).astype(np.float32)
        ring = (self.rig.beams - 1 - kept // self.rig.columns).astype(np.uint16)  # 0 is the lowest beam
        points = np.ascontiguousarray((rays * distance).T, np.float32)
        return Sweep(points, intensity, ring, class_id, instance)

    def _mixed(self, trace: Trace, kept: NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
        """(K,) distances of the rays at ``kept``; at an object's edge a share lies between it and what is behind it."""
        distance = trace.distance.reshape(trace.shape)
        beside = np.roll(distance, rng.choice((-1, 1)), axis=1).ravel()[kept]
        own = trace.distance[kept]
        chance, place = rng.random((2, len(kept)), np.float32)
        gap = beside - own
        edge = np.isfinite(gap) & (gap > 0.4) & (gap < 8.0) & (chance < self.rig.mixed)
        return np.where(edge, own + 0.5 * place**2 * np.where(edge, gap, 0), own).astype(np.float32)


def _albedo(trace: Trace, rays: NDArray[np.int64]) -> FloatArray:
    """(K,) share of a near-infrared beam that the surfaces send back; leaves and grass are bright there."""
    primitive, class_id = trace.primitive[rays], trace.class_id[rays]
    painted = 0.05 + 0.6 * trace.solids.colors[primitive, 0].mean(1)
    own = _NEAR_INFRARED[np.minimum(class_id, len(_NEAR_INFRARED) - 1)]
    return np.where(own > 0, own, painted) if len(rays) else painted


def _incidence(trace: Trace, rays: NDArray[np.int64]) -> FloatArray:
    """(K,) cosine of the angle between the ray and the surface's normal; round surfaces count as 0.7."""
    directions, primitive = trace.directions[:, rays], trace.primitive[rays]
    solids = trace.solids
    normal = solids.planes[primitive, np.minimum(trace.face[rays], 7), :3]
    cos, sin = np.cos(solids.yaw[primitive]), np.sin(solids.yaw[primitive])
    x, y, z = directions
    flat = np.abs(
        x * (cos * normal[:, 0] - sin * normal[:, 1]) + y * (sin * normal[:, 0] + cos * normal[:, 1]) + z * normal[:, 2]
    )
    flat = np.where(solids.shape[primitive] == Shape.CONVEX, flat, np.float32(0.7))
    return np.clip(np.where(primitive < 0, np.abs(z), flat), 0.01, 1).astype(np.float32)


def _behind_drops(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The image through a wet lens: round spots in which it is blurred and brighter, and a veil."""
    height, width, _ = image.shape
    spots = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(15, 40))):
        centre = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(spots, centre, int(rng.integers(2, 1 + width // 24)), 1.0, -1)
    spots = np.asarray(cv2.GaussianBlur(spots, (0, 0), 1.5)[..., None], np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), width / 70)
    veil = np.float32(0.1) * blurred.mean((0, 1))
    return np.asarray((image * (1 - spots) + (0.95 * blurred + 0.03) * spots) * np.float32(0.9) + veil, np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """(3, 3) rotation from the rotated frame to its parent: about z, then y (nose down is positive), then x."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_z @ about_y @ about_x
