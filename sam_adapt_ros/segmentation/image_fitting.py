"""A camera's image at the network's size: squeezed to fill it, or of the angular resolution that it was trained at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry.projection import Projection


@dataclass(frozen=True, eq=False)
class ImageFit:
    """Where a camera's image is in the network's: resized to ``size``, its first pixel at ``corner``; (2,) ints, x and
    y. scale: (2,) float32."""

    size: NDArray[np.int64]
    corner: NDArray[np.int64]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, view: CameraView, architecture: ArchitectureConfig) -> ImageFit:
        """With ``image_focal``, the optical axis is in the middle; the margins of a wider camera are beyond the
        network's image. Else the whole image fills it, whatever its shape."""
        network = np.array([architecture.image_width, architecture.image_height])
        camera = np.array([view.camera.width, view.camera.height])
        if not architecture.image_focal:
            return cls(network, np.zeros(2, np.int64), (network / camera).astype(np.float32))
        K = view.camera.K
        size = np.maximum(1, np.round(camera * architecture.image_focal / np.diag(K)[:2])).astype(np.int64)
        scale = size / camera
        axis = (K[:2, 2] + 0.5) * scale - 0.5
        return cls(size, np.round((network - 1) / 2 - axis).astype(np.int64), scale.astype(np.float32))

    @property
    def to_network(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(2,) scale and shift of pixels, whose centres are at integers: ``uv * scale + shift``."""
        return self.scale, np.asarray((self.scale - 1) / 2 + self.corner, np.float32)

    def within(self, projection: Projection, architecture: ArchitectureConfig) -> Projection:
        """Without the points that are beyond the network's image."""
        scale, shift = self.to_network
        with np.errstate(invalid="ignore", over="ignore"):
            uv = projection.uv * scale + shift
            inside = (uv >= -0.5) & (uv < np.array([architecture.image_width, architecture.image_height]) - 0.5)
        return projection._replace(valid=projection.valid & inside.all(1))

    def image(self, view: CameraView, architecture: ArchitectureConfig) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB; what is beyond the camera's image has the network's mean colour."""
        width, height = architecture.image_width, architecture.image_height
        resized = _resized(view.image, *self.size.tolist())
        if resized.shape[:2] == (height, width) and not self.corner.any():
            return resized
        (left, top), (right, bottom) = np.maximum(self.corner, 0), np.minimum(self.corner + self.size, (width, height))
        canvas = np.full((height, width, 3), [round(255 * value) for value in architecture.image_mean], np.uint8)
        if left < right and top < bottom:
            x, y = self.corner
            canvas[top:bottom, left:right] = resized[top - y : bottom - y, left - x : right - x]
        return canvas


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
