"""Moving vehicles and pedestrians, at any time of a drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation import models
from sam_adapt_ros.simulation.domains import Looks
from sam_adapt_ros.simulation.primitives import Primitives
from sam_adapt_ros.simulation.street import Street


@dataclass(frozen=True)
class Mover:
    """How one object moves: at ``start + speed * t`` metres along the street, or at a distance to the ego vehicle.

    lane: metres left of the centre line, for vehicles. side: 0 right, 1 left, for pedestrians; share: their position
    across the sidewalk, 0 to 1. turn: radians from the street's heading. follows: keep ``gap`` metres ahead of the ego
    vehicle, varying by ``wave`` metres.
    """

    start: float = 0.0
    speed: float = 0.0
    lane: float = 0.0
    side: int = -1
    share: float = 0.0
    turn: float = 0.0
    phase: float = 0.0
    follows: bool = False
    gap: float = 0.0
    wave: float = 0.0


class Traffic:
    """All moving objects of a drive. Instance ids count up from ``first_instance``."""

    def __init__(
        self,
        street: Street,
        looks: Looks,
        rng: np.random.Generator,
        lane: float,
        duration: float,
        ego_arc: Callable[[float], float],
        first_instance: int,
    ) -> None:
        self._street, self._looks, self._rng, self._ego_arc = street, looks, rng, ego_arc
        self._lane = lane
        self._models: list[Primitives] = []
        self._movers: list[Mover] = []
        self._add_vehicles(duration)
        self._add_pedestrians()
        self._of = {f.name: np.array([getattr(m, f.name) for m in self._movers]) for f in fields(Mover)}
        self._actor = np.repeat(np.arange(len(self._models)), [len(m) for m in self._models])
        self._solids = Primitives.concatenate(self._models)
        self._solids.instance = (first_instance + self._actor).astype(np.uint16)

    def __len__(self) -> int:
        return len(self._movers)

    def all_solids(self) -> Primitives:
        """The models in their own frames, with their instance and class ids."""
        return self._solids

    def poses(self, t: float) -> NDArray[np.float64]:
        """(A, 3) world x, y and heading at t seconds."""
        m = self._of
        led = self._ego_arc(t) + m["gap"] + m["wave"] * np.sin(0.15 * t + m["phase"])
        x = self._street.along(np.where(m["follows"], led, m["start"] + m["speed"] * t))
        side = np.maximum(m["side"], 0)
        inner, outer = self._street.verge_end(x, side), self._street.walk_end(x, side)
        walk = np.where(side == 1, 1, -1) * (inner + m["share"] * (outer - inner))
        x, y, heading = self._street.place(x, np.where(m["side"] >= 0, walk, m["lane"]))
        return np.stack((x, y, heading + m["turn"]), 1)

    def solids(self, t: float, x: float, y: float, reach: float) -> Primitives:
        """Moving primitives within ``reach`` metres of x, y along each axis at t seconds, in world coordinates."""
        poses = self.poses(t)
        near = (np.abs(poses[:, 0] - x) < reach) & (np.abs(poses[:, 1] - y) < reach)
        kept = near[self._actor]
        solids, actor = self._solids.select(kept), self._actor[kept]
        place = poses.astype(np.float32)
        z = self._street.height(place[:, 0], place[:, 1])
        cos, sin = np.cos(place[actor, 2]), np.sin(place[actor, 2])
        stride = np.sin(self._of["phase"] + 5.0 * t).astype(np.float32)
        forward = solids.center[:, 0] + solids.swing * stride[actor]
        left = solids.center[:, 1]
        solids.center = np.stack(
            (
                cos * forward - sin * left + place[actor, 0],
                sin * forward + cos * left + place[actor, 1],
                solids.center[:, 2] + z[actor],
            ),
            1,
        )
        solids.yaw = solids.yaw + place[actor, 2]
        return solids

    def _add(self, model: Primitives, mover: Mover) -> None:
        self._models.append(model)
        self._movers.append(mover)

    def _some_vehicle(self) -> Primitives:
        weights = np.array(list(self._looks.vehicles.values()))
        kind = self._rng.choice(list(self._looks.vehicles), p=weights / weights.sum())
        return models.vehicle(str(kind), self._rng, self._looks)

    def _add_vehicles(self, duration: float) -> None:
        """Adds two vehicles ahead and one behind in the ego vehicle's lane, and oncoming traffic."""
        rng = self._rng
        for gap in (rng.uniform(24, 38), rng.uniform(50, 70), rng.uniform(-26, -16)):
            mover = Mover(lane=self._lane, phase=rng.uniform(0, 6), follows=True, gap=gap, wave=4.0)
            self._add(self._some_vehicle(), mover)
        speed = rng.uniform(6.0, 9.0)
        start = 20.0
        while start < self._street.arc(self._street.end) + speed * duration:
            self._add(self._some_vehicle(), Mover(start, -speed, lane=-self._lane, turn=np.pi))
            start += rng.uniform(22, 60)

    def _add_pedestrians(self) -> None:
        rng, street = self._rng, self._street
        for middle in np.arange(street.start + 5, street.end - 5, 5.5):
            for side in (0, 1):
                if rng.random() > 0.8:
                    continue
                walking = rng.random() < 0.75
                speed = rng.uniform(0.8, 1.6) * rng.choice((-1, 1)) if walking else 0.0
                turn = rng.uniform(0, 6) if not walking else np.pi if speed < 0 else 0.0
                start = street.arc(middle + rng.uniform(-2.5, 2.5))
                mover = Mover(start, speed, 0.0, side, rng.uniform(0.15, 0.8), turn, rng.uniform(0, 6))
                self._add(models.pedestrian(rng, self._looks, walking), mover)
