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
from sam_adapt_ros.simulation.primitives import FloatArray
from sam_adapt_ros.simulation.street import TERRAIN
from sam_adapt_ros.simulation.trace import NONE, Trace

_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation from the optical frame (x right, y down, z forward) to a frame with x forward, y left, z up."""


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
        self.grid = PinholeGrid(rig.width, rig.height, rig.focal, cx, cy)
        K = np.array([[rig.focal, 0, cx], [0, rig.focal, cy], [0, 0, 1]])
        self.model = CameraModel(rig.width, rig.height, K)
        self.T_base_camera = np.eye(4)
        self.T_base_camera[:3, :3] = rotation(rig.yaw, rig.pitch, 0.0) @ _OPTICAL
        self.T_base_camera[:3, 3] = rig.position

    def expose(self, colors: FloatArray, night: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The (H, W, 3) uint8 RGB image of (H, W, 3) scene colours (1 = white), with lens blur and sensor noise."""
        image = cv2.GaussianBlur(colors, (0, 0), 0.95 if night else 0.5)
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

    def __init__(self, rig: LidarRig) -> None:
        self.rig = rig
        self.grid = SpinningGrid(np.deg2rad(np.linspace(rig.lowest, rig.highest, rig.beams)), rig.columns)
        self.T_base_lidar = np.eye(4)
        self.T_base_lidar[:3, 3] = rig.position

    def sweep(self, trace: Trace, rng: np.random.Generator) -> Sweep:
        """The returns within range, with range noise; it is larger in foliage and grass, which beams enter."""
        n = trace.distance.size
        spread, lost = rng.standard_normal(n, np.float32), rng.random(n, np.float32)
        depth = rng.random(n, np.float32)
        kept = np.flatnonzero(
            (trace.distance < self.rig.max_range) & (trace.class_id != NONE) & (lost >= self.rig.dropout)
        )
        class_id = trace.class_id[kept]
        rays = self.grid.directions.reshape(3, -1)[:, kept]
        distance = trace.distance[kept] + self.rig.noise * spread[kept]
        distance += np.where(class_id == VEGETATION, 0.25 * depth[kept] ** 2, 0).astype(np.float32)
        blade = 0.07 * depth[kept] / np.maximum(np.abs(trace.directions[2, kept]), 0.12)
        distance -= np.where(class_id == TERRAIN, blade, 0).astype(np.float32)
        primitive = trace.primitive[kept]
        albedo = np.where(primitive >= 0, trace.solids.colors[primitive, 0].mean(1), 0.3)
        intensity = np.clip(255 * albedo * (0.9 + 0.1 * spread[kept]), 0, 255).astype(np.float32)
        ring = (self.rig.beams - 1 - kept // self.rig.columns).astype(np.uint16)  # 0 is the lowest beam
        points = np.ascontiguousarray((rays * distance).T, np.float32)
        return Sweep(points, intensity, ring, class_id, trace.instance[kept])


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """(3, 3) rotation from the rotated frame to its parent: about z, then y (nose down is positive), then x."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_z @ about_y @ about_x
