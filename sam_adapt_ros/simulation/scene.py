"""The world of one drive: a street with all static and moving objects, at any time of the drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.domains import Domain
from sam_adapt_ros.simulation.planting import Planter
from sam_adapt_ros.simulation.primitives import FloatArray, Primitives
from sam_adapt_ros.simulation.street import Street
from sam_adapt_ros.simulation.traffic import Traffic

SPEED = 8.0
"""Mean speed of the ego vehicle, metres per second."""
VIEW_RANGE = 95.0
"""Metres from the ego vehicle, along x, beyond which objects are not rendered."""


@dataclass(frozen=True)
class Light:
    """Lighting of a drive. sun: (3,) unit vector towards the sun. strength, ambient: relative intensities."""

    sun: FloatArray
    strength: float
    ambient: float
    night: bool
    rain: bool


class Scene:
    """The world of one drive.

    domain, seed: determine its appearance and layout. duration: of the drive, seconds.
    """

    def __init__(self, domain: Domain, seed: int, duration: float) -> None:
        rng = np.random.default_rng([seed, 7])
        self.domain = domain
        self.street = Street(duration * SPEED * 1.15, domain.looks, rng)
        self._ego_phase = rng.uniform(0, 2 * np.pi, 4)
        side = 1.0 if domain.looks.drives_on_left else -1.0
        lane_width = min(3.3, self.street.half_width - 0.4)
        self.lane = side * lane_width / 2
        azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(*domain.sun_elevation)
        sun = (np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation))
        strength = rng.uniform(*domain.sun_strength)
        self.light = Light(np.array(sun, np.float32), strength, 0.95 - 0.42 * strength, domain.night, domain.rain)
        planter = Planter(self.street, domain.looks, rng)
        planter.plant()
        self._static = planter.collected()
        self._static = self._static.select(np.argsort(self._static.center[:, 0], kind="stable"))
        self.lamps = planter.lamps()
        self.first_moving_instance = planter.next_instance
        self.traffic = Traffic(
            self.street, domain.looks, rng, self.lane, duration, self._ego_arc, self.first_moving_instance
        )
        self.instance_class = self._classes()

    def ego(self, t: float) -> tuple[float, float, float]:
        """World x, y and heading of the ego vehicle at t seconds."""
        return self._drive(self._ego_arc(t), self.lane + 0.25 * np.sin(0.5 * t + self._ego_phase[1]))

    def _ego_arc(self, t: float) -> float:
        p = self._ego_phase
        return SPEED * t + 6.0 * (np.sin(0.22 * t + p[0]) - np.sin(p[0]))

    def _drive(self, arc: float, d: float) -> tuple[float, float, float]:
        return self.street.place(self.street.along(arc), d)

    def solids(self, t: float) -> Primitives:
        """All primitives within VIEW_RANGE of the ego vehicle at t seconds, in world coordinates."""
        x, y, _ = self.ego(t)
        a, b = np.searchsorted(self._static.center[:, 0], (x - VIEW_RANGE, x + VIEW_RANGE))
        standing = self._static.select(slice(a, b))
        return Primitives.concatenate([standing, self.traffic.solids(t, x, y, VIEW_RANGE)])

    def static_solids(self) -> Primitives:
        """All primitives that never move."""
        return self._static

    def _classes(self) -> NDArray[np.uint8]:
        """(65536,) uint8 class id by instance id, 255 where unused."""
        table = np.full(1 << 16, 255, np.uint8)
        first = 2
        table[1] = 0
        for number in range(first, self.street.next_instance):
            table[number] = (number - first) % 3
        table[self._static.instance] = self._static.class_id
        moving = self.traffic.all_solids()
        table[moving.instance] = moving.class_id
        return table
