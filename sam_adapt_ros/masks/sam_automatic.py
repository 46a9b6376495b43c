"""Automatic masks of Segment Anything, prompted on a regular grid as published (Kirillov et al., ICCV 2023)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from sam_adapt_ros.config import SamConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints
from sam_adapt_ros.masks.promptable_model import STABILITY_SCORE_OFFSET


class AutomaticSam:
    """The ``sam`` generator: segment_anything's own ``SamAutomaticMaskGenerator``.

    It upsamples every candidate of a batch of prompts to the image's size, which ``sam_lidar`` avoids. The masks are
    kept as run lengths; their scores are predicted IoUs.
    """

    name = "sam"

    def __init__(self, model: Sam, config: SamConfig, min_points: int = 1) -> None:
        self.min_points = min_points
        self._generator = SamAutomaticMaskGenerator(
            model,
            points_per_side=config.points_per_side,
            points_per_batch=config.points_per_batch,
            pred_iou_thresh=config.pred_iou_thresh,
            stability_score_thresh=config.stability_score_thresh,
            stability_score_offset=STABILITY_SCORE_OFFSET,
            box_nms_thresh=config.box_nms_thresh,
            output_mode="coco_rle",
        )

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        return self.image_masks(view.image).at(seen, self.name, self.min_points)

    def image_masks(self, image: NDArray[np.uint8]) -> ImageMasks:
        """The masks of an (H, W, 3) uint8 RGB image, with or without points on them."""
        records = self._generator.generate(image)
        return ImageMasks(
            (image.shape[0], image.shape[1]),
            tuple(record["segmentation"]["counts"] for record in records),
            np.array([record["area"] for record in records], np.float64),
            np.array([record["predicted_iou"] for record in records], np.float32),
        )
