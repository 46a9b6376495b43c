"""Static objects along the street: buildings, plants, poles and parked vehicles."""

from __future__ import annotations

import numpy as np

from sam_adapt_ros.simulation import models
from sam_adapt_ros.simulation.domains import Looks
from sam_adapt_ros.simulation.primitives import FloatArray, Primitives, Texture
from sam_adapt_ros.simulation.street import Block, Street


class Planter:
    """Places objects along a street; each object gets the next instance id."""

    def __init__(self, street: Street, looks: Looks, rng: np.random.Generator) -> None:
        self._street, self._looks, self._rng = street, looks, rng
        self._parts: list[Primitives] = []
        self.next_instance = street.next_instance

    def plant(self) -> None:
        """Places everything."""
        for block in self._street.blocks:
            for side, kind in enumerate(block.kinds):
                self._row_of_buildings(block, side, kind)
                self._greenery(block, side, kind)
                self._poles(block, side, kind)
                self._parked(block, side, kind)
            self._crossing_furniture(block)

    def collected(self) -> Primitives:
        """All placed primitives, in world coordinates."""
        return Primitives.concatenate(self._parts)

    def lamps(self) -> FloatArray:
        """(L, 3) world positions of the street lamps' heads."""
        solids = self.collected()
        return solids.center[solids.texture == Texture.LAMP]

    def _put(self, model: Primitives, x: float, d: float, turn: float = 0.0) -> None:
        px, py, heading = self._street.place(x, d)
        ground = self._street.height(np.array([px], np.float32), np.array([py], np.float32))
        self._parts.append(model.placed((px, py, ground[0]), heading + turn, self.next_instance))
        self.next_instance += 1

    def _beside(self, side: int) -> tuple[float, float]:
        """Sign of d on that side, and the turn that makes a model's front (-y) face the street."""
        return (1.0, 0.0) if side else (-1.0, np.pi)

    def _row_of_buildings(self, block: Block, side: int, kind: str) -> None:
        rng, looks = self._rng, self._looks
        sign, turn = self._beside(side)
        x = block.start + rng.uniform(1, 4)
        while True:
            storey = rng.uniform(*looks.storey)
            if kind == "downtown":
                width, depth, storeys = rng.uniform(9, 18), rng.uniform(9, 13), rng.integers(*looks.storeys_downtown)
                setback, gap = rng.uniform(0.3, 1.5), 0.1 if rng.random() < 0.7 else rng.uniform(2, 5)
            elif kind == "houses":
                width, depth, storeys = rng.uniform(7, 12), rng.uniform(7, 9), rng.integers(1, 4)
                setback, gap = rng.uniform(4, 8), rng.uniform(3, 7)
            else:  # buildings behind the park or the parking lot
                width, depth, storeys = rng.uniform(12, 20), 10.0, rng.integers(2, 6)
                setback, gap = rng.uniform(22, 28), rng.uniform(1, 8)
            if x + width > block.end - 1:
                break
            middle = x + width / 2
            gable = kind == "houses" and rng.random() < looks.gable
            model = models.building(rng, looks, width, depth, storeys * storey + 0.4, storey, gable)
            edge = max(self._street.walk_end(x, side), self._street.walk_end(x + width, side))
            self._put(model, middle, sign * (edge + setback + depth / 2), turn)
            x += width + gap
        # A second row fills the gaps of the first and the ends of the cross streets.
        for back in np.arange(block.start - 4, block.end + 12, rng.uniform(16, 20)):
            storey = rng.uniform(*looks.storey)
            height = rng.integers(2, 5) * storey
            model = models.building(
                rng, looks, rng.uniform(12, 18), 9.0, height, storey, rng.random() < looks.gable / 2
            )
            self._put(model, back, sign * rng.uniform(52, 60), turn)

    def _some_tree(self, only_bush: bool = False) -> Primitives:
        names, weights = list(self._looks.trees), np.array(list(self._looks.trees.values()))
        kind = "bush" if only_bush else str(self._rng.choice(names, p=weights / weights.sum()))
        return models.tree(kind, self._rng, self._looks)

    def _greenery(self, block: Block, side: int, kind: str) -> None:
        rng, street = self._rng, self._street
        sign, _ = self._beside(side)

        def scatter(count: int, near: float, far: float, only_bush: bool = False) -> None:
            for _ in range(count):
                x = rng.uniform(block.start + 1, block.end - 1)
                d = street.walk_end(x, side) + rng.uniform(near, far)
                self._put(self._some_tree(only_bush), x, sign * d, rng.uniform(0, 6))

        if kind == "woods":
            density = (block.end - block.start) / 60
            scatter(int(density * rng.integers(25, 45)), 1.0, 20.0)
            scatter(int(density * rng.integers(10, 25)), 0.8, 12.0, only_bush=True)
        elif kind == "park":
            scatter(int(rng.integers(9, 15)), 1.0, 20.0)
            scatter(int(rng.integers(3, 6)), 0.8, 8.0, only_bush=True)
        elif kind == "houses":
            scatter(int(rng.integers(3, 7)), 0.8, 2.6)
            scatter(int(rng.integers(2, 4)), 0.7, 2.2, only_bush=True)
            if rng.random() < 0.7:
                for x in np.arange(block.start + 5, block.end - 4, rng.uniform(8, 13)):
                    if rng.random() < 0.6:
                        hedge = self._looks.hedges >= 1 or rng.random() < self._looks.hedges
                        make = models.hedge if hedge else models.garden_wall
                        length = rng.uniform(3, 6)
                        self._put(make(rng, self._looks, length), x, sign * (street.walk_end(x, side) + 0.6))
        elif kind == "lot":
            scatter(int(rng.integers(1, 4)), 14.0, 19.0)
        else:
            scatter(int(rng.integers(2, 4)), 12.0, 24.0)
        if kind != "lot" and rng.random() < 0.6:  # a row of street trees along the kerb
            spacing = rng.uniform(9, 14)
            street_trees = [k for k in self._looks.trees if k != "bush"]
            tree_kind = street_trees[int(rng.integers(len(street_trees)))]
            for x in np.arange(block.start + 6, block.end - 5, spacing):
                d = street.half_width + 0.75
                self._put(models.tree(tree_kind, rng, self._looks), x + rng.uniform(-1, 1), sign * d, rng.uniform(0, 6))

    def _poles(self, block: Block, side: int, kind: str) -> None:
        rng, street = self._rng, self._street
        sign, _ = self._beside(side)
        inward = np.pi if side else 0.0  # arms point to the road
        for x in np.arange(block.start + rng.uniform(2, 8), block.end - 1, rng.uniform(13, 20)):
            main = "utility" if rng.random() < self._looks.wooden_poles else "lamp"
            self._put(models.pole(main, rng, self._looks), x, sign * (street.half_width + 0.4), inward)
            if rng.random() < 0.75:
                facing = 0.0 if rng.random() < 0.5 else np.pi
                place = street.half_width + rng.uniform(0.3, 0.5)
                self._put(models.pole("sign", rng, self._looks), x + rng.uniform(4, 8), sign * place, facing)
        if kind in ("downtown", "lot") and rng.random() < 0.6:
            first = rng.uniform(block.start + 3, block.end - 20)
            for x in first + np.arange(int(rng.integers(4, 8))) * 2.0:
                self._put(models.pole("bollard", rng, self._looks), x, sign * (street.half_width + 0.35))

    def _parked(self, block: Block, side: int, kind: str) -> None:
        rng, street, looks = self._rng, self._street, self._looks
        sign, _ = self._beside(side)
        names, weights = list(looks.vehicles), np.array(list(looks.vehicles.values()))

        def some_vehicle() -> Primitives:
            return models.vehicle(str(rng.choice(names, p=weights / weights.sum())), rng, looks)

        if block.parking:
            x = block.start + rng.uniform(5, 12)
            while x < block.end - 6:
                if rng.random() < 0.55:
                    d = street.half_width - (1.15 if street.half_width > 5.4 else 0.35)
                    self._put(some_vehicle(), x, sign * d, 0.0 if rng.random() < 0.7 else np.pi)
                x += rng.uniform(7.5, 9.5)
        if looks.sheds and kind in ("lot", "park", "houses"):
            for x in np.arange(block.start + 6, block.end - 6, 16.0):
                if rng.random() < looks.sheds:
                    d = street.walk_end(x, side) + rng.uniform(1.8, 3.5)
                    self._put(models.shed(rng, looks), x + rng.uniform(-4, 4), sign * d, rng.normal(0, 0.1))
        if kind == "lot":
            for row in (4.0, 11.0):
                for x in np.arange(block.start + 4, block.end - 4, 3.0):
                    if rng.random() < 0.5:
                        turn = sign * np.pi / 2 * rng.choice((-1, 1)) + rng.normal(0, 0.04)
                        self._put(some_vehicle(), x, sign * (street.walk_end(x, side) + row), turn)

    def _crossing_furniture(self, block: Block) -> None:
        rng, street, looks = self._rng, self._street, self._looks
        middle, half = street.crossings[block.number]
        if rng.random() < 0.6:
            for dx, sign in ((-half - 0.8, -1), (half + 0.8, 1), (-half - 0.8, 1), (half + 0.8, -1)):
                self._put(models.pole("signal", rng, looks), middle + dx, sign * (street.half_width + 0.6))
        for sign in (-1, 1):  # a vehicle waits in the cross street
            if rng.random() < 0.6:
                d = street.half_width + rng.uniform(4.5, 8)
                kind = "car" if "car" in looks.vehicles else next(iter(looks.vehicles))
                turn = -sign * np.pi / 2
                offset = half * 0.45 * sign * (-1 if looks.drives_on_left else 1)
                self._put(models.vehicle(kind, rng, looks), middle + offset, sign * d, turn)
            if rng.random() < 0.7:
                d = street.half_width + rng.uniform(12, 25)
                self._put(self._some_tree(), middle + half + rng.uniform(0.6, 1.5), sign * d)
