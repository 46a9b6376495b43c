"""Checks of incoming frames: cameras that see nothing, noise in place of images, a LiDAR that repeats itself."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE, Frame

MIN_CONTRAST = 2.0  # standard deviation of the grey values, of 255; less is a covered lens or an unlit night
MIN_CORRELATION = 0.5  # of neighbouring pixels; noise and shuffled pixels have none, scenes nearly 1
_WIDTH = 240  # pixels to which images are thinned out before they are measured


class FrameChecks:
    """Finds frames that nothing true can be learned from, whatever is predicted of them.

    Takes the frames that are considered, in the order of the stream: a sweep is compared with the one before.
    """

    def __init__(self, min_points: int) -> None:
        """min_points: labelled points that a sweep needs."""
        self._min_points = min_points
        self._last: NDArray[np.int32] | None = None

    def fault(self, frame: Frame, labels: NDArray[np.uint8]) -> str | None:
        """Why a frame must not be learned from, None when it may: ``no_points``, ``points_outside`` (most of them, of
        the network's cube), ``frozen_lidar``, ``no_images``, ``dark_image``, ``noisy_image``. One camera of several at
        fault is enough.

        labels: (N,) as predicted; 255 where the network does not see the point.
        """
        bits = np.ascontiguousarray(frame.published_points, np.float32).view(np.int32)  # as integers, NaN equals NaN
        frozen = self._last is not None and np.array_equal(self._last, bits)
        self._last = bits.copy()
        labelled = np.count_nonzero(labels != IGNORE)
        if labelled < self._min_points:
            return "no_points"
        if 2 * labelled < np.count_nonzero(np.isfinite(frame.points).all(1)):
            return "points_outside"
        if frozen:
            return "frozen_lidar"
        if not frame.views:
            return "no_images"
        for view in frame.views:
            contrast, correlation = image_statistics(view.image)
            if contrast < MIN_CONTRAST:
                return "dark_image"
            if correlation < MIN_CORRELATION:
                return "noisy_image"
        return None


def image_statistics(image: NDArray[np.uint8]) -> tuple[float, float]:
    """The standard deviation of an image's grey values, 0 to 255, and the correlation of neighbouring pixels, the lower
    of the horizontal and the vertical one: high in pictures of a scene, near zero in noise and in shuffled pixels.

    image: (H, W, 3).
    """
    step = max(1, image.shape[1] // _WIDTH)  # pixels are left out, not averaged: averages of noise are smooth
    grey: NDArray[Any] = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_RGB2GRAY).astype(
        np.float32
    )
    contrast = float(grey.std())
    if contrast == 0 or min(grey.shape) < 2:
        return contrast, 1.0
    centred = grey - grey.mean()
    variance = float(np.square(centred).mean())
    horizontal = float((centred[:, 1:] * centred[:, :-1]).mean()) / variance
    vertical = float((centred[1:] * centred[:-1]).mean()) / variance
    return contrast, min(horizontal, vertical)
