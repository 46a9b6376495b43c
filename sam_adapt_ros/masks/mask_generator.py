"""The interface of all mask generators."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints


class MaskGenerator(Protocol):
    """Makes class-agnostic masks of one camera's view of one sweep. The same input always gives the same masks."""

    @property
    def name(self) -> str:
        """The name in ``masks.generator``, and the ``MaskSet.sources`` of the masks."""
        ...

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        """Computes the masks of one image over the points that its camera sees.

        Args:
            view: image and calibration of the camera.
            seen: the sweep, and the V of its points that the camera sees.
            labels: (V,) uint8 labels known so far, 255 = none. ``sam_lidar`` prompts where labels are missing; the
                other generators ignore them.

        Raises:
            MaskError: the view lacks what the generator needs.
        """
        ...


@runtime_checkable
class ImageMaskGenerator(MaskGenerator, Protocol):
    """A generator whose masks depend on the image alone, so that they can be cached for any sweep and calibration.

    Masks with fewer than ``min_points`` points on them are dropped when the image's masks become a ``MaskSet``.
    """

    min_points: int

    def image_masks(self, image: NDArray[np.uint8]) -> ImageMasks:
        """The masks of an (H, W, 3) uint8 RGB image at full resolution."""
        ...
