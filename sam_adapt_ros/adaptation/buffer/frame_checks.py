"""Frames that teach nothing true: cameras that see nothing, noise in place of images, a LiDAR that stands still."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import FrameChecksConfig
from sam_adapt_ros.frame import Frame

_WIDTH = 240  # pixels that images are looked at with


class Plausibility:
    """Looks at frames in the order they come; remembers the last sweep."""

    def __init__(self, config: FrameChecksConfig) -> None:
        self.config = config
        self._last: NDArray[np.int32] | None = None

    def fault(self, frame: Frame) -> str | None:
        """Why a frame must not be learned from, None when it may: ``no_points``, ``frozen_lidar``, ``no_images``,
        ``dark_image``, ``noisy_image``. One camera of several at fault is enough."""
        bits = np.ascontiguousarray(frame.points, np.float32).view(np.int32)
        frozen = self._last is not None and np.array_equal(self._last, bits)
        self._last = bits.copy()
        if np.isfinite(frame.points).all(1).sum() < self.config.min_points:
            return "no_points"
        if frozen:
            return "frozen_lidar"
        if not frame.views:
            return "no_images"
        for view in frame.views:
            contrast, correlation = look(view.image)
            if contrast < self.config.min_contrast:
                return "dark_image"
            if correlation < self.config.min_correlation:
                return "noisy_image"
        return None


def look(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Standard deviation of the grey values, 0 to 255, and the correlation of horizontal and vertical neighbours.

    image: (H, W, 3). In pictures of a scene neighbours are alike; in noise and shuffled pixels they are not.
    """
    step = max(1, image.shape[1] // _WIDTH)  # pixels are left out, not averaged: averaging would make scenes of noise
    grey: NDArray[Any] = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_RGB2GRAY).astype(
        np.float32
    )
    contrast = float(grey.std())
    if contrast == 0 or min(grey.shape) < 2:
        return contrast, 1.0
    centred = grey - grey.mean()
    variance = float(np.square(centred).mean())
    across = float((centred[:, 1:] * centred[:, :-1]).mean()) / variance
    down = float((centred[1:] * centred[:-1]).mean()) / variance
    return contrast, min(across, down)
