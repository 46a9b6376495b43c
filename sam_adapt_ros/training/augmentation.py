"""Augmentation: random changes to a sample that keep its labels valid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import AugmentationConfig
from sam_adapt_ros.segmentation.batch import Sample

FLIP_POINTS = 0.5  # probability, as in xMUDA
FLIP_IMAGE = 0.5  # probability, as in xMUDA
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def augment(sample: Sample, config: AugmentationConfig, rng: np.random.Generator) -> Sample:
    """An augmented copy of a sample, as in xMUDA: points and images change independently, and every point keeps its
    pixel's content.

    The random numbers drawn depend on the number of images alone. A point whose pixel is cropped away counts as one
    that no camera sees.
    """
    start = rng.uniform(-np.pi, np.pi)
    if config.sector < 1:
        sample = sample.only(_in_sector(sample.points, start, config.sector) | (sample.camera >= 0))
    points = transform_points(sample.points, config, rng)
    images, uv, camera = list(sample.images), sample.uv.copy(), sample.camera.copy()
    for index, image in enumerate(images):
        image = jitter_color(image, config.color_jitter, rng)
        if rng.random() < FLIP_IMAGE:
            image = image[:, ::-1]
            own = sample.camera == index
            uv[own, 0] = image.shape[1] - 1 - uv[own, 0]
        width = round(config.crop_image * image.shape[1])
        left = int(rng.random() * (image.shape[1] - width + 1))
        images[index] = image[:, left : left + width]
        if width < image.shape[1]:  # else a flipped point at the very border might leave it by rounding
            own = np.flatnonzero(sample.camera == index)
            uv[own, 0] -= left
            camera[own[(uv[own, 0] < -0.5) | (uv[own, 0] >= width - 0.5)]] = -1
    stacked = np.stack(images) if images else sample.images
    return replace(sample, points=points, camera=camera, uv=uv, images=stacked)


def _in_sector(points: NDArray[np.float32], start: float, share: float) -> NDArray[np.bool_]:
    """(P,) bool: the azimuth is in the ``share`` of the circle that begins at ``start`` radians."""
    return (np.arctan2(points[:, 1], points[:, 0]) - start) % (2 * np.pi) < share * 2 * np.pi


def transform_points(
    points: NDArray[np.float32], config: AugmentationConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(P, 3) points after noise on the rotation matrix (which shears and scales a little), a flip left to right, a
    rotation about z and a translation."""
    A = np.eye(3) + config.rotation_noise * rng.standard_normal((3, 3))
    if rng.random() < FLIP_POINTS:
        A[1] *= -1
    angle = rng.uniform(-config.max_rotation, config.max_rotation)
    c, s = np.cos(angle), np.sin(angle)
    A = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ A
    shift = rng.uniform(-config.translation, config.translation, 3)
    return points @ A.T.astype(np.float32) + shift.astype(np.float32)


def jitter_color(image: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 image with brightness, contrast and saturation scaled by factors from 1 - strength to
    1 + strength, one after the other."""
    brightness, contrast, saturation = rng.uniform(max(0.0, 1 - strength), 1 + strength, 3).astype(np.float32)
    if not strength:
        return image
    # All three are affine in the colour, so they are one 3 x 3 matrix and one offset a pixel.
    mean = np.float32((image.reshape(-1, 3).mean(0) @ _LUMA) * brightness)
    mix = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * _LUMA
    changed = image.reshape(-1, 3).astype(np.float32) @ (brightness * contrast * mix.T)
    changed += (1 - contrast) * mean
    return np.clip(changed + 0.5, 0, 255).astype(np.uint8).reshape(image.shape)
