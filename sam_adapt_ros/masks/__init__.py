"""Class-agnostic masks of an image, and which LiDAR points fall on each.

``segments`` and ``regions`` need no weights; ``sam`` and ``sam_lidar`` prompt Segment Anything (Kirillov et al., ICCV
2023, arXiv 2304.02643), the former on its published regular grid, the latter at LiDAR points.
"""

from sam_adapt_ros.masks.mask_generator import MaskGenerator
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints
from sam_adapt_ros.masks.registry import build

__all__ = ["MaskGenerator", "MaskSet", "SeenPoints", "build"]
