"""Whether the vehicle has moved since the last frame that was considered, or has stood for long since."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.geometry.transforms import Transform

LOOK_AGAIN_S = 1.0
"""A vehicle that stands is looked at again so often: what it sees may have changed."""
NOMINAL_SPEED = 8.0  # metres a second that are assumed where there is no odometry: city traffic
_LONGEST_STEP_S = 1.0  # without odometry, a longer gap between two frames is a pause or a jump of the clock, no drive
_FAR = 1e9  # metres between positions by odometry and positions by time, so that the two never meet on the map
_ELSEWHERE = 10_000.0  # metres: such a step is to another drive's place on the map, and was not driven

Position = list[float]  # x, y, z in metres


class MovementGate:
    """Measures the drive by stamps and poses alone, so that it can be called before a frame is decoded.

    Takes every frame of the stream, in order; given the same frame twice, it returns the same.

    A step between two frames is the straight line between their positions; where one of them has no odometry, or they
    are of different drives, the time between their stamps at ``nominal_speed``: no movement when the stamp does not
    advance (a bag that loops, a clock set back), and at most one second of it when the stream pauses. The vehicle has
    moved when it is ``min_distance`` away from where the last considered frame was, in a straight line, so that the
    noise of the odometry of a standing vehicle never adds up; where odometry is missing at either end, the steps in
    between are added up instead.

    distance: metres of all steps since the beginning.
    """

    def __init__(self, min_distance: float, nominal_speed: float = NOMINAL_SPEED) -> None:
        """min_distance: metres. nominal_speed: metres a second."""
        self._min_distance, self._nominal_speed = min_distance, nominal_speed
        self.distance = 0.0
        self._last: tuple[int, Position | None] | None = None  # stamp and position of the last frame
        self._considered: tuple[float, Position | None] | None = None  # distance and position of that frame
        self._looked_ns: int | None = None  # stamp of the last frame that was considered, also while standing

    def has_moved(self, stamp_ns: int, T_odom_lidar: Transform | None) -> bool:
        """Takes the step to the frame of this stamp and pose, and returns whether it is to be considered.

        T_odom_lidar: (4, 4); None, or not finite, without odometry. True for the first frame.
        """
        known = T_odom_lidar is not None and np.isfinite(T_odom_lidar).all()
        position = T_odom_lidar[:3, 3].tolist() if T_odom_lidar is not None and known else None
        if self._last is not None:
            self.distance += self._step(*self._last, stamp_ns, position)
        self._last = (stamp_ns, position)
        if self._considered is None:
            return True
        distance, origin = self._considered
        moved = self.distance - distance if position is None or origin is None else math.dist(origin, position)
        return moved >= self._min_distance

    @property
    def is_look_due(self) -> bool:
        """Whether the last frame is LOOK_AGAIN_S from the one that was considered before, by its stamp."""
        if self._last is None or self._looked_ns is None:
            return True
        return abs(self._last[0] - self._looked_ns) >= LOOK_AGAIN_S * 1e9

    def consider(self) -> None:
        """Counts distances and looks from the last frame on."""
        self._considered = (self.distance, None if self._last is None else self._last[1])
        self.look()

    def look(self) -> None:
        """Counts looks from the last frame on, and distances from where they were."""
        self._looked_ns = None if self._last is None else self._last[0]

    def forget_considered(self) -> None:
        """Makes the next frame due, wherever it is."""
        self._considered = None

    @property
    def position(self) -> NDArray[np.float64]:
        """(2,) metres: where the last frame is on the map; without odometry, on a straight line far from all others."""
        position = None if self._last is None else self._last[1]
        return np.array([_FAR + self.distance, 0.0] if position is None else position[:2])

    def _step(self, before_ns: int, before: Position | None, stamp_ns: int, position: Position | None) -> float:
        if position is not None and before is not None and math.dist(before, position) < _ELSEWHERE:
            return math.dist(before, position)
        return min(max((stamp_ns - before_ns) / 1e9, 0.0), _LONGEST_STEP_S) * self._nominal_speed

    # State ------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "distance": self.distance,
            "last": self._last,
            "considered": self._considered,
            "looked_ns": self._looked_ns,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """What ``state`` gave. Raises KeyError for anything else."""
        self.distance, self._last, self._considered = state["distance"], state["last"], state["considered"]
        self._looked_ns = state.get("looked_ns")  # earlier versions did not look again
