"""A 60-beam front view with overlapping masks, for timing ``enhance`` on a scene that it is not tuned on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.benchmarks.street import CAR, GROUND, POLE, WALL, Street, cast
from sam_adapt_ros.frame import IGNORE

_BEAMS, _COLUMNS = 60, 400  # elevation +3 to -25 degrees, azimuth +45 to -45 degrees
_CAMERA = np.array([0.4, 0.1, -0.5])  # metres, LiDAR frame; looks along x over 90 degrees
_WIDTH, _HEIGHT = 800, 300  # pixels
_FOCAL = _WIDTH / 2


def front_view(points: int = 21_000, masks: int = 200, seed: int = 0) -> Street:
    """A street with walls, parked cars and poles. A third of the masks are things as the camera sees them, a third
    pieces of them, a third rectangles of the image; parallax puts points of the background on the first two, too."""
    rng = np.random.default_rng(seed)
    boxes, classes = _boxes(rng)
    azimuth, elevation = np.radians(np.meshgrid(np.linspace(45, -45, _COLUMNS), np.linspace(3, -25, _BEAMS)))
    forward = np.cos(elevation)
    rays = np.stack([forward * np.cos(azimuth), forward * np.sin(azimuth), np.sin(elevation)], -1).reshape(-1, 3)
    distance, instance = cast(np.zeros(3), rays, boxes)
    distance += rng.normal(0, 0.02, len(distance))
    returned = np.flatnonzero(distance < 100)
    kept = np.sort(rng.choice(returned, min(points, len(returned)), replace=False))
    cloud = (rays[kept] * distance[kept, None]).astype(np.float32)
    truth = np.where(instance[kept] < 0, GROUND, classes[instance[kept]]).astype(np.uint8)
    patches = np.cos(cloud @ rng.normal(0, 0.5, (3, 12)) + rng.uniform(0, 2 * np.pi, 12)).sum(1)
    noise = patches + rng.normal(0, 1, len(cloud))
    labels = np.where(noise > np.quantile(noise, 0.55), truth, IGNORE).astype(np.uint8)
    wrong = (labels != IGNORE) & (rng.random(len(cloud)) < 0.03)
    labels[wrong] = rng.integers(0, 4, wrong.sum())
    return Street(cloud, labels, truth, *_masks(cloud, boxes, masks, rng))


def _boxes(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(B, 2, 3) corners of axis-aligned boxes on the ground, and their classes."""
    things = []  # x and y of the middle, length, width, height, class
    for side in (-1, 1):
        things += [(x, side * rng.uniform(9, 14), 8.5, 1.0, rng.uniform(4, 10), WALL) for x in np.arange(4, 90, 9.0)]
        things += [(x, side * rng.uniform(3.5, 6), 4.4, 1.8, 1.5, CAR) for x in rng.uniform(5, 60, 9)]
        things += [(x, side * 7.5, 0.2, 0.2, 5.0, POLE) for x in rng.uniform(4, 50, 7)]
    x, y, length, width, height, classes = np.array(things).T
    low = np.stack([x - length / 2, y - width / 2, np.full(len(things), -1.9)], 1)
    return np.stack([low, low + np.stack([length, width, height], 1)], 1), classes.astype(np.int64)


def _masks(
    points: NDArray, boxes: NDArray, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(M, N) membership and (M,) areas in pixels."""
    v, u = np.mgrid[:_HEIGHT, :_WIDTH].reshape(2, -1)
    rays = np.stack([np.ones(len(u)), (_WIDTH / 2 - u) / _FOCAL, (_HEIGHT / 3 - v) / _FOCAL], 1)
    distance, instance = cast(_CAMERA, rays, boxes)
    x, y, z = (points - _CAMERA).T
    column, row = np.floor(_WIDTH / 2 - _FOCAL * y / x), np.floor(_HEIGHT / 3 - _FOCAL * z / x)
    seen = (x > 0) & (column >= 0) & (column < _WIDTH) & (row >= 0) & (row < _HEIGHT)
    pixel = np.where(seen, row * _WIDTH + column, 0).astype(int)

    masks = [(instance == number) & (distance < 100) for number in np.unique(instance)]
    masks = sorted((mask for mask in masks if mask.sum() >= 50), key=np.sum, reverse=True)[: count // 3]
    things = len(masks)
    while (
        len(masks) < things + count // 3
    ):  # the pixels of a thing that are nearer to one of a few sites than to others
        thing = masks[int(things * rng.random() ** 2)]  # large ones more often
        sites = rng.choice(np.flatnonzero(thing), rng.integers(2, 5))
        masks.append(thing & (np.hypot(u[:, None] - u[sites], v[:, None] - v[sites]).argmin(1) == 0))
    while len(masks) < count:
        width, height = np.exp(rng.uniform(np.log(20), np.log([600, 200])))
        left, top = rng.uniform(-width / 2, _WIDTH - width / 2), rng.uniform(-height / 2, _HEIGHT - height / 2)
        masks.append((left <= u) & (u < left + width) & (top <= v) & (v < top + height))
    return np.array([mask[pixel] & seen for mask in masks]), np.array([float(mask.sum()) for mask in masks])
