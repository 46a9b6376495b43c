"""A ray-cast street for timing pseudo-labels; the LiDAR is above the camera, so that masks show real parallax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE, CameraView
from sam_adapt_ros.geometry.camera import CameraModel

FOCAL = 721.0  # pixels
WIDTH, HEIGHT = 1242, 375
CAMERA_BELOW = 0.8  # metres that the camera is below the LiDAR
GROUND, CAR, WALL, POLE = range(4)


@dataclass(frozen=True)
class Street:
    """Input of ``enhance``, and the true classes.

    points: (N, 3) float32 metres, LiDAR frame (x forward, z up): those inside the camera's image.
    labels: (N,) uint8 pseudo-labels with gaps and a few errors. truth: (N,) uint8.
    membership: (M, N) bool, areas: (M,) pixels: masks of the instances in the image, and of nested parts of them.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    membership: NDArray[np.bool_]
    areas: NDArray[np.float64]


def street(points: int, masks: int, seed: int = 0, beams: int = 64, coverage: float = 0.6) -> Street:
    """A frame with that many points and masks. coverage: share of the points with a label."""
    rng = np.random.default_rng(seed)
    boxes, classes = _boxes(rng)
    hits, instance = _sweep(points, beams, boxes, rng)
    truth = np.where(instance < 0, GROUND, classes[instance]).astype(np.uint8)
    noise = _smooth_noise(hits, rng)
    labels = np.where(noise > np.quantile(noise, 1 - coverage), truth, np.uint8(IGNORE))
    wrong = (labels != IGNORE) & (rng.random(len(hits)) < 0.02)
    labels[wrong] = rng.integers(0, 4, wrong.sum())
    membership, areas = _masks(hits, boxes, masks)
    return Street(hits, labels.astype(np.uint8), truth, membership, areas)


def occlusion(points: int, seed: int = 0, beams: int = 64) -> tuple[NDArray[np.float32], CameraView, NDArray[np.bool_]]:
    """(N, 3) points of a street, the camera below the LiDAR, and (N,) bool: whether the point is hidden from it."""
    rng = np.random.default_rng(seed)
    boxes, _ = _boxes(rng)
    hits, _ = _sweep(points, beams, boxes, rng)
    origin = np.array([0, 0, -CAMERA_BELOW])
    distance = np.linalg.norm(hits - origin, axis=1)
    met, _ = cast(origin, (hits - origin) / distance[:, None], boxes)
    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    T_camera_lidar = np.eye(4)
    T_camera_lidar[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    T_camera_lidar[:3, 3] = -T_camera_lidar[:3, :3] @ origin
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    view = CameraView("CAM_FRONT", 0, image, CameraModel(WIDTH, HEIGHT, K), T_camera_lidar)
    return hits, view, met < distance - 0.3


def _boxes(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(B, 2, 3) corners of axis-aligned boxes, and their classes: rows of cars, house fronts, poles."""
    boxes, classes = [], []

    def add(x: float, y: float, length: float, width: float, height: float, class_id: int) -> None:
        bottom = -1.9
        boxes.append([[x, y, bottom], [x + length, y + width, bottom + height]])
        classes.append(class_id)

    for side in (-1, 1):
        for x in np.arange(6, 80, 7.0):
            add(x + rng.uniform(0, 2), side * 4.5 - 0.9, 4.2, 1.8, 1.5, CAR)
        for x in np.arange(5, 80, 12.0):
            add(x, side * (10 + rng.uniform(0, 3)) - (3 if side < 0 else 0), 11.0, 3.0, rng.uniform(6, 12), WALL)
        for x in np.arange(8, 60, 10.0):
            add(x, side * 7.0, 0.25, 0.25, 5.0, POLE)
    for x in (14.0, 30.0):
        add(x, rng.uniform(-2, 0), 4.2, 1.8, 1.5, CAR)
    return np.array(boxes), np.array(classes)


def cast(origin: NDArray, directions: NDArray, boxes: NDArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance along each ray to its first hit (inf: none), and the number of the box hit (-1: the ground)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(directions[:, 2] < 0, (-1.9 - origin[2]) / directions[:, 2], np.inf)
        instance = np.full(len(directions), -1)
        for index, (low, high) in enumerate(boxes):
            near, far = np.sort([(low - origin) / directions, (high - origin) / directions], axis=0)
            enter, leave = near.max(1), far.min(1)
            hit = (enter > 0) & (enter < leave) & (enter < distance)
            distance[hit], instance[hit] = enter[hit], index
    return distance, instance


def _sweep(points: int, beams: int, boxes: NDArray, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """``points`` points of a sweep that fall into the image, and the number of the box that each is on."""
    columns = int(points / beams * 1.4) + 32
    while True:
        grid = np.meshgrid(np.linspace(0.75, -0.75, columns), np.radians(np.linspace(2, -24.8, beams)))
        azimuth, elevation = (angle.ravel() for angle in grid)
        forward, up = np.cos(elevation), np.sin(elevation)
        directions = np.stack([forward * np.cos(azimuth), forward * np.sin(azimuth), up], 1)
        distance, instance = cast(np.zeros(3), directions, boxes)
        distance += rng.normal(0, 0.01, len(distance))
        with np.errstate(invalid="ignore"):
            hits = directions * distance[:, None]
        u, v, depth = _pixels(hits)
        keep = np.flatnonzero((distance < 80) & (depth > 1) & (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT))
        if len(keep) >= points:
            keep = np.sort(rng.choice(keep, points, replace=False))
            return hits[keep].astype(np.float32), instance[keep]
        columns = int(columns * 1.2) + 1


def _pixels(points: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """u, v, depth in a camera that looks along x from below the LiDAR."""
    with np.errstate(divide="ignore", invalid="ignore"):
        u = WIDTH / 2 - FOCAL * points[:, 1] / points[:, 0]
        v = HEIGHT / 2 - FOCAL * (points[:, 2] + CAMERA_BELOW) / points[:, 0]
    return u, v, points[:, 0]


def _smooth_noise(points: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """(N,) random field that varies over metres, plus white noise."""
    waves = rng.normal(0, 0.8, (12, 3))
    return np.cos(points @ waves.T + rng.uniform(0, 6.3, 12)).sum(1) + rng.normal(0, 1.0, len(points))


def _masks(points: NDArray, boxes: NDArray, count: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Masks of the instances in the image at half resolution, then of their parts on finer and finer tiles."""
    height, width = HEIGHT // 2, WIDTH // 2
    v, u = np.mgrid[0:height, 0:width].reshape(2, -1) * 2.0 + 0.5
    directions = np.stack([np.ones(len(u)), (WIDTH / 2 - u) / FOCAL, (HEIGHT / 2 - v) / FOCAL], 1)
    distance, instance = cast(np.array([0, 0, -CAMERA_BELOW]), directions, boxes)
    pixel_instance = np.where(np.isfinite(distance), instance + 1, -1)
    point_u, point_v, _ = _pixels(points)
    pixel = (point_v / 2).astype(int).clip(0, height - 1) * width + (point_u / 2).astype(int).clip(0, width - 1)

    rows: list[NDArray] = []
    areas: list[float] = []
    tile = 1e9
    while len(rows) < count:
        keys = ((v // tile) * 4096 + u // tile) * 4096 + pixel_instance
        keys[pixel_instance < 0] = -1
        unique, sizes = np.unique(keys, return_counts=True)
        for key, size in zip(unique, sizes, strict=True):
            if key >= 0 and size >= 100 and len(rows) < count:
                rows.append(keys[pixel] == key)
                areas.append(4.0 * size)
        tile = 300.0 if tile > 1e6 else tile / 1.6
    return np.array(rows), np.array(areas)
