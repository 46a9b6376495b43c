"""Automatic masks of Segment Anything, prompted on a regular grid as published (Kirillov et al., ICCV 2023)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import SamConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints
from sam_adapt_ros.masks.prompt_batches import DECODER_BYTES, PromptBatches
from sam_adapt_ros.masks.promptable_model import STABILITY_SCORE_OFFSET, GridModel, check_numbers


class AutomaticSam:
    """The ``sam`` generator: the model's own, such as segment_anything's ``SamAutomaticMaskGenerator``.

    It upsamples every candidate of a batch of prompts to the image's size, which ``sam_lidar`` avoids. The masks are
    kept as run lengths; their scores are predicted IoUs.
    """

    name = "sam"

    def __init__(self, model: GridModel, config: SamConfig, min_points: int = 1) -> None:
        self.min_points = min_points
        self._batches = PromptBatches(config.model, model.device)
        self._model = model
        self._wanted = config.points_per_batch
        self._generator = model.grid(
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
        """The masks of an (H, W, 3) uint8 RGB image, with or without points on them.

        Raises MaskError when the model predicts NaN.
        """
        records = self._batches.fitting(partial(self._records, image), self._wanted, _bytes_a_prompt(image))
        if not records:
            centre = np.array([[image.shape[1] / 2, image.shape[0] / 2]], np.float32)
            check_numbers(self._model.decode(self._model.embed(image), centre))
        return ImageMasks(
            (image.shape[0], image.shape[1]),
            tuple(record["segmentation"]["counts"] for record in records),
            np.array([record["area"] for record in records], np.float64),
            np.array([record["predicted_iou"] for record in records], np.float32),
        )

    def _records(self, image: NDArray[np.uint8], prompts_at_a_time: int) -> list[dict[str, Any]]:
        self._generator.points_per_batch = prompts_at_a_time
        return self._generator.generate(image)


def _bytes_a_prompt(image: NDArray[np.uint8]) -> float:
    """Memory of a prompt's three candidates: decoded, and as logits and masks of the padded and of the image's size."""
    return DECODER_BYTES + 3 * 4 * (1024**2 + 2 * image.shape[0] * image.shape[1])
