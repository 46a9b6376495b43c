"""Ray casting of one sensor against solids and ground, with exact classes and instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.grids import RayGrid
from sam_adapt_ros.simulation.primitives import FloatArray, Primitives
from sam_adapt_ros.simulation.raycast import Hits, cast
from sam_adapt_ros.simulation.scene import Scene

NONE = 255


@dataclass
class Trace:
    """The hits of all rays of a sensor at one time, flattened to N = H * W.

    directions: (3, N) float32 unit vectors, world. origin: (3,) world, metres.
    distance: (N,) float32 metres, inf for the sky. primitive: (N,) int32, -1 for ground and sky. face: (N,) uint8.
    class_id: (N,) uint8, 255 for the sky. instance: (N,) uint16, 0 for the sky.
    """

    shape: tuple[int, int]
    solids: Primitives
    directions: FloatArray
    origin: NDArray[np.float64]
    distance: FloatArray
    primitive: NDArray[np.int32]
    face: NDArray[np.uint8]
    class_id: NDArray[np.uint8]
    instance: NDArray[np.uint16]


def trace(
    scene: Scene, seconds: float, grid: RayGrid, T_world_sensor: NDArray[np.float64], reach: float = np.inf
) -> Trace:
    """Casts every ray of the grid into the scene at a time.

    Args:
        T_world_sensor: (4, 4) pose of the sensor; for cameras, of the optical frame.
        reach: metres beyond which solids may be left out.
    """
    rotation, origin = T_world_sensor[:3, :3], T_world_sensor[:3, 3]
    shape = grid.directions.shape[1:]
    directions = (rotation.astype(np.float32) @ grid.directions.reshape(3, -1)).reshape(3, *shape)
    solids = scene.solids(seconds)
    hits: Hits = cast(grid, rotation, origin, solids, directions, reach)
    rays = directions.reshape(3, -1)
    distance, primitive, face = hits.distance.ravel(), hits.primitive.ravel(), hits.face.ravel()
    on_ground, ground_distance, zone = scene.street.cast(rays, origin, distance)
    distance[on_ground] = ground_distance
    primitive[on_ground] = -1

    class_id = np.full(distance.shape, NONE, np.uint8)
    instance = np.zeros(distance.shape, np.uint16)
    on_solid = np.flatnonzero(primitive >= 0)
    class_id[on_solid] = solids.class_id[primitive[on_solid]]
    instance[on_solid] = solids.instance[primitive[on_solid]]
    x, y = origin[:2, None].astype(np.float32) + ground_distance * rays[:2, on_ground]
    class_id[on_ground] = zone
    instance[on_ground] = scene.street.instance(x, y, zone)
    return Trace((shape[0], shape[1]), solids, rays, origin, distance, primitive, face, class_id, instance)
