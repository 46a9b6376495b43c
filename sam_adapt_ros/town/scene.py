"""A street with everything on it, at any time of a drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.town import models
from sam_adapt_ros.town.domains import Domain
from sam_adapt_ros.town.planting import Planter
from sam_adapt_ros.town.primitives import FloatArray, Primitives
from sam_adapt_ros.town.street import HEIGHTS, Street

SPEED = 8.0
"""Mean speed of the ego vehicle, metres a second."""
VIEW_RANGE = 95.0


@dataclass(frozen=True)
class Actor:
    """Something that moves. pose: seconds -> world x, y, heading and phase of the limbs."""

    model: Primitives
    instance: int
    pose: Callable[[float], tuple[float, float, float, float]]


@dataclass(frozen=True)
class Light:
    """How a drive is lit. sun: (3,) unit vector towards it."""

    sun: FloatArray
    strength: float
    ambient: float
    night: bool


class Scene:
    """One drive's world.

    domain, seed: what it looks like. duration: seconds the drive lasts.
    """

    def __init__(self, domain: Domain, seed: int, duration: float) -> None:
        rng = np.random.default_rng([seed, 7])
        self.domain = domain
        self.street = Street(duration * SPEED * 1.15, domain.looks, rng)
        self._ego_phase = rng.uniform(0, 2 * np.pi, 4)
        side = 1.0 if domain.looks.drives_on_left else -1.0
        lane_width = min(3.3, self.street.half_width - 0.4)
        self.lane = side * lane_width / 2
        azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 1.0)
        sun = (np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation))
        strength = rng.uniform(0.55, 1.0)
        self.light = Light(np.array(sun, np.float32), strength, 0.95 - 0.42 * strength, domain.night)
        planter = Planter(self.street, domain.looks, rng)
        planter.plant()
        self._static = planter.collected()
        self._static = self._static.select(np.argsort(self._static.center[:, 0], kind="stable"))
        self.lamps = planter.lamps()
        self._next_instance = self.first_moving_instance = planter.next_instance
        self.actors: list[Actor] = []
        self._populate(rng, duration)
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
        """All primitives within VIEW_RANGE of the ego vehicle, in the world at t seconds."""
        x, y, _ = self.ego(t)
        a, b = np.searchsorted(self._static.center[:, 0], (x - VIEW_RANGE, x + VIEW_RANGE))
        parts = [self._static.select(slice(a, b))]  # type: ignore[arg-type]
        near: list[tuple[Actor, float, float, float, float]] = []
        for actor in self.actors:
            ax, ay, heading, phase = actor.pose(t)
            if abs(ax - x) < VIEW_RANGE and abs(ay - y) < VIEW_RANGE:
                near.append((actor, ax, ay, heading, phase))
        where = np.array([(ax, ay) for _, ax, ay, _, _ in near], np.float32).reshape(-1, 2)
        ground = HEIGHTS[self.street.zone(where[:, 0], where[:, 1])]
        for (actor, ax, ay, heading, phase), z in zip(near, ground, strict=True):
            parts.append(actor.model.placed((ax, ay, z), heading, actor.instance, phase))
        return Primitives.concatenate(parts)

    def static_solids(self) -> Primitives:
        """What never moves."""
        return self._static

    def _add(self, model: Primitives, pose: Callable[[float], tuple[float, float, float, float]]) -> None:
        self.actors.append(Actor(model, self._next_instance, pose))
        self._next_instance += 1

    def _populate(self, rng: np.random.Generator, duration: float) -> None:
        """Traffic ahead and behind, oncoming traffic, and pedestrians on both sidewalks."""
        looks, street = self.domain.looks, self.street
        names, weights = list(looks.vehicles), np.array(list(looks.vehicles.values()))

        def some_vehicle() -> Primitives:
            return models.vehicle(str(rng.choice(names, p=weights / weights.sum())), rng, looks)

        def follows(gap: float, amplitude: float, phase: float) -> Callable:
            return lambda t: (
                *self._drive(self._ego_arc(t) + gap + amplitude * np.sin(0.15 * t + phase), self.lane),
                0.0,
            )

        for gap in (rng.uniform(24, 38), rng.uniform(50, 70), rng.uniform(-26, -16)):
            self._add(some_vehicle(), follows(gap, 4.0, rng.uniform(0, 6)))

        def oncoming(start: float, speed: float) -> Callable:
            def pose(t: float) -> tuple[float, float, float, float]:
                x, y, heading = self._drive(start - speed * t, -self.lane)
                return x, y, heading + np.pi, 0.0

            return pose

        speed = rng.uniform(6.0, 9.0)
        start = 20.0
        while start < street.arc(street.end) + speed * duration:
            self._add(some_vehicle(), oncoming(start, speed))
            start += rng.uniform(22, 60)

        x = street.start + 5
        while x < street.end - 5:
            for side in (0, 1):
                if rng.random() < 0.8:
                    self._add_pedestrian(rng, x + rng.uniform(-2.5, 2.5), side)
            x += 5.5

    def _add_pedestrian(self, rng: np.random.Generator, x: float, side: int) -> None:
        street = self.street
        walking = rng.random() < 0.75
        sign = 1 if side else -1
        speed = rng.uniform(0.8, 1.6) * rng.choice((-1, 1)) if walking else 0.0
        share, phase, facing = rng.uniform(0.15, 0.8), rng.uniform(0, 6), rng.uniform(0, 6)
        start = street.arc(x)

        def pose(t: float) -> tuple[float, float, float, float]:
            along = street.along(start + speed * t)
            inner, outer = street.verge_end(along, side), street.walk_end(along, side)
            # Widths jump from block to block; between blocks is a crossing, where people drift to the new line.
            px, py, heading = street.place(along, sign * (inner + share * (outer - inner)))
            if not speed:
                heading += facing
            return px, py, heading + (np.pi if speed < 0 else 0.0), phase + 5.0 * t

        self._add(models.pedestrian(rng, self.domain.looks, walking), pose)

    def _classes(self) -> NDArray[np.uint8]:
        """(65536,) uint8 class id by instance id, 255 where unused."""
        table = np.full(1 << 16, 255, np.uint8)
        first = 2
        table[1] = 0
        for number in range(first, self.street.next_instance):
            table[number] = (number - first) % 3
        table[self._static.instance] = self._static.class_id
        for actor in self.actors:
            table[actor.instance] = actor.model.class_id[0]
        return table
