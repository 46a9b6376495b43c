"""Class-agnostic masks, and which of a camera's points fall on them."""

from sam_adapt_ros.masks.generators import MaskGenerator, build
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints

__all__ = ["MaskGenerator", "MaskSet", "SeenPoints", "build"]
