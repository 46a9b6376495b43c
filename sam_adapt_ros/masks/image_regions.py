"""Image regions: graph-based segmentation of the scaled-down image at nested scales.

The method is Felzenszwalb and Huttenlocher: Efficient Graph-Based Image Segmentation (IJCV 59, 2004), in scikit-image's
implementation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from sam_adapt_ros.config import RegionsConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints, from_labels

SIGMA = 0.8  # Gaussian smoothing in pixels, the paper's value
MIN_SIZE = 20  # pixels of the scaled image; smaller regions join a neighbour


class ImageRegions:
    """The ``regions`` generator.

    A mask's area is its number of pixels in the scaled image, times the number of image pixels in each.
    """

    name = "regions"

    def __init__(self, config: RegionsConfig, min_points: int = 1) -> None:
        self._config = config
        self._min_points = min_points

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        height, width = view.image.shape[:2]
        rows, columns = seen.pixels(height, width)
        sets = []
        for level in self.segment(view.image):
            area = np.bincount(level.ravel()) * (height * width / level.size)
            sets.append(from_labels(at_pixels(level, rows, columns, height, width), area, self.name, self._min_points))
        return MaskSet.concatenate(sets)

    def segment(self, image: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
        """Segments an (H, W, 3) uint8 RGB image: (h, w) region numbers of the scaled image per scale, finest first.

        Regions of a scale are unions of regions of the scale before: each joins the coarser region that most of its
        pixels lie in.
        """
        config = self._config
        base_image = shrink(image, config.width)
        small = shrink(base_image, max(config.width // 2, 1))
        finest, *coarser = config.scales
        base = partition(base_image, finest, SIGMA, MIN_SIZE)
        levels = [base]
        for scale in coarser:
            coarse = partition(small, scale, SIGMA, MIN_SIZE).astype(np.int32)
            grown = np.asarray(cv2.resize(coarse, base_image.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.int64)
            levels.append(_nest(levels[-1], grown))
        return levels


def shrink(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The image scaled down to ``width`` pixels by averaging, with its aspect ratio; never scaled up."""
    if image.shape[1] <= width:
        return np.ascontiguousarray(image)
    height = max(round(image.shape[0] * width / image.shape[1]), 1)
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def stretched(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with its 2nd to 98th percentile stretched to the full range, so that night images split like day's."""
    low, high = np.percentile(image, (2, 98))
    return ((image - np.float32(low)) * np.float32(255 / max(high - low, 32.0))).clip(0, 255).astype(np.uint8)


def partition(image: NDArray[np.uint8], scale: float, sigma: float, min_size: int) -> NDArray[np.int64]:
    """(h, w) region numbers of an (h, w, 3) uint8 RGB image, by graph-based segmentation.

    Args:
        scale: the paper's k; larger values give larger regions.
        sigma: Gaussian smoothing, pixels.
        min_size: pixels; smaller regions are merged into a neighbour.
    """
    return felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size).astype(np.int64)


def at_pixels(
    level: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64], height: int, width: int
) -> NDArray[np.int64]:
    """(V,) region numbers at pixels of the (height, width) image, from the partition ``level`` of its scaled copy."""
    return level[rows * level.shape[0] // height, columns * level.shape[1] // width]


def _nest(base: NDArray[np.int64], coarse: NDArray[np.int64]) -> NDArray[np.int64]:
    """``coarse`` with each region of ``base`` moved to the coarse region that has most of it (ties: the lower)."""
    regions, groups = int(base.max()) + 1, int(coarse.max()) + 1
    share = np.bincount(base.ravel() * groups + coarse.ravel(), minlength=regions * groups).reshape(regions, groups)
    _, group = np.unique(share.argmax(axis=1), return_inverse=True)
    return group[base]
