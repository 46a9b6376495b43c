"""Colours of the camera's ray hits: ground, light by day and by night, shadows, haze, sky."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.models import pick
from sam_adapt_ros.simulation.noise import cell, noise
from sam_adapt_ros.simulation.primitives import FloatArray, Primitives, Shape
from sam_adapt_ros.simulation.scene import Scene
from sam_adapt_ros.simulation.street import ROAD, SIDEWALK, TERRAIN
from sam_adapt_ros.simulation.textures import paint
from sam_adapt_ros.simulation.trace import Trace

_CELL = 0.2  # cell size of the shadow map, metres
_HALF_SPAN = 70.0  # extent of the shadow map to both sides of the street, metres
_NEAR_LAMPS = 6  # street lamps that light a frame


class Shader:
    """Computes the colours of one scene. Ground colours are sampled per drive, so that they vary between drives."""

    def __init__(self, scene: Scene, seed: int) -> None:
        rng = np.random.default_rng([seed, 11])
        looks = scene.domain.looks
        self._scene = scene
        self._road = pick(looks.road, rng, 0.02).astype(np.float32)
        self._sidewalks = np.array([pick(looks.sidewalk, rng, 0.03) for _ in range(64)], np.float32)
        self._terrains = np.array([pick(looks.terrain, rng, 0.03) for _ in range(64)], np.float32)
        self._haze, self._sky = np.array(looks.haze, np.float32), np.array(looks.sky, np.float32)
        self._tint = rng.uniform(0.96, 1.04, 3).astype(np.float32)
        self._map_y = scene.street.place(0.0, 0.0)[1]
        self._shadows = self._draw_shadows(scene.static_solids())

    def shade(self, trace: Trace, T_world_base: NDArray[np.float64], seconds: float) -> FloatArray:
        """(H, W, 3) float32 colours, 1 = white, before the camera's blur and noise."""
        n = trace.distance.size
        image = np.zeros((n, 3), np.float32)
        solid = np.flatnonzero(trace.primitive >= 0)
        ground = np.flatnonzero((trace.primitive < 0) & np.isfinite(trace.distance))
        seen = np.concatenate((solid, ground))
        distance = trace.distance[seen]
        points = trace.origin[:, None].astype(np.float32) + trace.directions[:, seen] * distance
        k = len(solid)
        albedo, glow, normal = paint(
            trace.solids, trace.primitive[solid], trace.face[solid], points[:, :k], distance[:k]
        )
        albedo = np.concatenate(
            (albedo, self._ground(points[:, k:], distance[k:], trace.class_id[ground], trace.instance[ground]))
        )
        up = np.zeros((3, len(ground)), np.float32)
        up[2] = 1
        normal = np.concatenate((normal, up), 1)
        if self._scene.light.night:
            light = self._night_light(points, normal, T_world_base)
            color = albedo * light
            color[:k] += glow
        else:
            lit = np.ones(len(seen), np.float32)
            lit[k:] = 1 - self._shadow(points[:, k:], trace.solids, seconds)
            color = albedo * self._day_light(normal, lit)
        if self._scene.light.rain:
            color[k:] = self._wet(color[k:], points[:, k:], trace.directions[:, ground])
        visibility = self._scene.domain.looks.visibility
        clear = np.exp(-distance / (min(visibility, 90) if self._scene.light.rain else visibility))[:, None]
        image[seen] = color * clear + self._haze_color() * (1 - clear)
        sky = np.flatnonzero(~np.isfinite(trace.distance))
        image[sky] = self._sky_color(trace.directions[:, sky])
        if self._scene.domain.glare and not self._scene.light.night:
            image += self._scene.domain.glare * self._glare(trace.directions)
        return image.reshape(*trace.shape, 3)

    def _ground(
        self, points: FloatArray, distance: FloatArray, zone: NDArray[np.uint8], instance: NDArray[np.uint16]
    ) -> FloatArray:
        """(N, 3) albedo of points (3, N) on the ground."""
        x, y, z = points
        street = self._scene.street
        d = street.lateral(x, y)
        fine = np.clip(9 / distance, 0, 1)
        albedo = np.empty((len(x), 3), np.float32)
        grain = noise(x * 28, y * 28)
        broad = noise(x * 2.2, d * 9)

        road = zone == ROAD
        shade = 1 + 0.22 * fine * grain + 0.16 * broad
        shade = np.where(cell(x / 6, d / 2.2) > 0.93, shade * 0.82, shade)
        albedo[:] = self._road * shade[:, None]
        white = 0.72 + 0.15 * grain
        albedo = np.where((road & self._marked(x, d))[:, None], white[:, None], albedo)

        tile = self._scene.domain.looks.tile
        tu, tv = x / tile, d / tile
        grout = ((tu % 1 < 0.08) | (tv % 1 < 0.08)) * np.clip(7 * tile / 0.6 / distance, 0, 1)
        shade = 1 + 0.10 * (cell(tu, tv) - 0.5) + 0.10 * broad + 0.14 * fine * grain - 0.3 * grout
        walk = zone == SIDEWALK
        albedo[walk] = self._sidewalks[instance[walk] & 63] * shade[walk, None]

        grass = zone == TERRAIN
        blades = 1 + 0.45 * np.clip(18 / distance, 0.15, 1) * grain + 0.3 * noise(x * 6, y * 6)
        ids = instance[grass]
        bare = np.clip(0.5 * noise(x[grass] * 3 + 90, y[grass] * 3) - 0.05, 0, 0.6)[:, None]
        base = self._terrains[ids & 63] * (1 - bare) + np.array((0.36, 0.29, 0.20), np.float32) * bare
        albedo[grass] = base * blades[grass, None]

        curb = z < street.height(x, y) - 0.008
        albedo[curb] = np.float32(0.46) + 0.06 * grain[curb, None]
        return albedo

    def _marked(self, x: FloatArray, d: FloatArray) -> NDArray[np.bool_]:
        """(N,) bool: whether points of the road are on a centre line, edge line, stop line or zebra crossing."""
        street = self._scene.street
        to_crossing = street.to_crossing(x)
        between = to_crossing > 6.0
        across = np.abs(d)
        centre = (across < 0.08) & (x % 6 < 3)
        edge = (np.abs(across - (street.half_width - 0.25)) < 0.06) & between
        zebra = (to_crossing > 2.6) & (to_crossing < 5.4) & (d % 1.0 < 0.5) & (across < street.half_width - 0.3)
        stop = (np.abs(to_crossing - 6.2) < 0.18) & (across < street.half_width - 0.3)
        return (centre & between) | edge | zebra | stop

    def _day_light(self, normal: FloatArray, lit: FloatArray) -> FloatArray:
        light = self._scene.light
        sun = np.clip(light.sun @ normal, 0, 1) * lit * light.strength * 1.15
        ambient = light.ambient * (0.72 + 0.28 * normal[2])
        warm, cool = np.array((1.06, 1.0, 0.92), np.float32), np.array((0.95, 1.0, 1.08), np.float32)
        return (sun[:, None] * warm + ambient[:, None] * cool) * (1.3 * self._tint)

    def _night_light(self, points: FloatArray, normal: FloatArray, T_world_base: NDArray[np.float64]) -> FloatArray:
        """(N, 3) light of the night sky, the ego vehicle's headlamps and the nearest street lamps."""
        warm = np.array((1.0, 0.80, 0.52), np.float32)
        total = np.full((points.shape[1], 3), 0.11, np.float32) * np.array((0.8, 0.9, 1.25), np.float32)
        lamp = (T_world_base @ np.array((2.2, 0.0, 0.75, 1.0)))[:3].astype(np.float32)
        forward = T_world_base[:3, 0].astype(np.float32)
        to = points - lamp[:, None]
        square = np.einsum("ij,ij->j", to, to)
        along = (forward @ to) / np.sqrt(square + 1e-6)
        beam = np.clip((along - 0.72) / 0.26, 0, 1)
        facing = np.clip(-np.einsum("ij,ij->j", normal, to) / np.sqrt(square + 1e-6), 0, 1) * 0.9 + 0.1
        total += (beam * facing * (170 / (square + 120)))[:, None] * np.array((1.0, 0.97, 0.88), np.float32)
        lamps = self._scene.lamps
        near = np.argsort(((lamps - (lamp + 18 * forward)) ** 2).sum(1))[:_NEAR_LAMPS]
        for position in lamps[near]:
            to = position[:, None] - points
            square = np.einsum("ij,ij->j", to, to)
            facing = np.clip(np.einsum("ij,ij->j", normal, to) / np.sqrt(square + 1e-6), 0.06, 1)
            total += (facing * (17 / (square + 20)))[:, None] * warm
        return total

    def _wet(self, color: FloatArray, points: FloatArray, rays: FloatArray) -> FloatArray:
        """(N, 3) colours of wet ground: darker, and a mirror of the sky where it is seen at a grazing angle."""
        puddles = np.clip(0.75 + 0.5 * noise(points[0] * 1.5, points[1] * 1.5), 0.3, 1)
        mirror = (0.75 * puddles * (1 - np.abs(rays[2])) ** 5)[:, None]
        return np.float32(0.6) * color * (1 - mirror) + 0.8 * self._haze_color() * mirror

    def _glare(self, rays: FloatArray) -> FloatArray:
        """(N, 1) stray light of a low sun in front of the lens: a veil over the whole image and a halo."""
        light = self._scene.light
        toward = np.clip(light.sun @ rays, 0, 1)
        veil = np.float32(0.12 * light.strength) * toward.max() ** 12
        return (veil + np.float32(0.3 * light.strength) * toward**40)[:, None]

    def _haze_color(self) -> FloatArray:
        if self._scene.light.night:
            return np.array((0.035, 0.035, 0.05), np.float32)
        return np.full(3, 0.55, np.float32) if self._scene.light.rain else self._haze

    def _sky_color(self, rays: FloatArray) -> FloatArray:
        up = np.clip(rays[2] / 0.45, 0, 1)[:, None]
        azimuth = np.arctan2(rays[1], rays[0])
        ridge = (rays[2] < 0.018 + 0.014 * noise(azimuth * 80, azimuth * 0 + 9))[:, None]  # distant hills
        height = np.maximum(rays[2], 0.02)
        clouds = noise(azimuth * 60 + 40 / (1 + 6 * height), 60 / (0.25 + height))
        clouds = np.clip(0.2 + 1.3 * clouds, 0, 1)[:, None] * np.clip(up * 3, 0.2, 1)
        if self._scene.light.night:
            glow = (
                np.array((0.085, 0.065, 0.05), np.float32) * (1 - up) + np.array((0.015, 0.018, 0.035), np.float32) * up
            )
            return np.where(ridge, np.float32(0.02), glow * (1 + 0.5 * clouds))
        if self._scene.light.rain:
            return np.where(ridge, np.float32(0.4), 0.55 + 0.12 * clouds) * np.ones(3, np.float32)
        sky = self._haze * (1 - up) + self._sky * up
        sunny = np.clip((self._scene.light.sun @ rays - 0.9) * 6, 0, 0.5)[:, None]
        sky = np.clip(sky * (1 - 0.6 * clouds) + 0.93 * 0.6 * clouds + sunny, 0, 1)
        return np.where(ridge, self._haze * np.array((0.70, 0.76, 0.78), np.float32), sky)

    def _draw_shadows(self, solids: Primitives) -> NDArray[np.uint8]:
        """Shadow map of the static solids in top view; 255 = shadow."""
        street = self._scene.street
        size = (int(2 * _HALF_SPAN / _CELL), int((street.end - street.start) / _CELL))
        canvas = np.zeros(size, np.uint8)
        if not self._scene.light.night:
            self._draw(canvas, solids, street.start, self._map_y - _HALF_SPAN)
            cv2.GaussianBlur(canvas, (0, 0), 0.8, dst=canvas)
        return canvas

    def _draw(self, canvas: NDArray[np.uint8], solids: Primitives, x0: float, y0: float) -> None:
        sun = self._scene.light.sun
        signs = np.array([[1 if c & bit else -1 for bit in (1, 2, 4)] for c in range(8)], np.float32)
        shrink = np.where(solids.shape == Shape.CONVEX, 1.0, 0.78)[:, None, None]
        corners = signs[None] * solids.half[:, None] * shrink
        cos, sin = np.cos(solids.yaw)[:, None], np.sin(solids.yaw)[:, None]
        x = cos * corners[..., 0] - sin * corners[..., 1] + solids.center[:, :1]
        y = sin * corners[..., 0] + cos * corners[..., 1] + solids.center[:, 1:2]
        z = np.maximum(corners[..., 2] + solids.center[:, 2:], 0)
        x, y = x - z * sun[0] / sun[2], y - z * sun[1] / sun[2]
        pixels = np.stack(((x - x0) / _CELL, (y - y0) / _CELL), 2).astype(np.float32)
        for outline in pixels:
            cv2.fillConvexPoly(canvas, cv2.convexHull(outline).astype(np.int32), 255)

    def _shadow(self, points: FloatArray, solids: Primitives, seconds: float) -> FloatArray:
        """(N,) share of the sunlight that does not reach points on the ground."""
        x, y, _ = points
        if not len(x):
            return np.zeros(0, np.float32)
        street = self._scene.street
        ego_x = self._scene.ego(seconds)[0]
        first = int(max((ego_x - 70 - street.start) / _CELL, 0))
        window = self._shadows[:, first : first + int(140 / _CELL)].copy()
        moving = solids.instance >= self._scene.first_moving_instance
        x0, y0 = street.start + first * _CELL, self._map_y - _HALF_SPAN
        self._draw(window, solids.select(moving), x0, y0)
        u = np.clip((x - x0) / _CELL, 0, window.shape[1] - 1).astype(np.int32)
        v = np.clip((y - y0) / _CELL, 0, window.shape[0] - 1).astype(np.int32)
        return window[v, u] * np.float32(0.85 / 255)
