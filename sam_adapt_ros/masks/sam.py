"""Segment Anything: checkpoints, the automatic grid as published, and the adapter that lets LiDAR points prompt it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from sam_adapt_ros.config import SamConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints
from sam_adapt_ros.masks.promptable_model import STABILITY_SCORE_OFFSET, Decoded, LogitFrame


def load_sam(config: SamConfig) -> Sam:
    """The model of ``config.model`` with the weights of ``config.checkpoint``, ready on ``config.device``.

    Only tensors are taken from the file; a pickle that holds anything else is refused.
    Raises MaskError: unknown model, no such file, damaged, or another model's weights.
    """
    if config.model not in sam_model_registry:
        raise MaskError(f"masks.sam.model: unknown {config.model!r} (known: {', '.join(sam_model_registry)})")
    if not config.checkpoint:
        raise MaskError(f"masks.sam.checkpoint: the file of a {config.model} checkpoint expected, none given")
    path = Path(config.checkpoint).expanduser()
    if not path.is_file():
        raise MaskError(f"masks.sam.checkpoint: {path}: no such file")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise MaskError("masks.sam.device: cuda asked for, but torch finds no CUDA device")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives fail in as many ways as there are bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MaskError(f"masks.sam.checkpoint: {path}: not a readable checkpoint ({reason})") from None
    if not isinstance(weights, Mapping) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise MaskError(f"masks.sam.checkpoint: {path}: tensors by name expected, got {type(weights).__name__}")
    model = sam_model_registry[config.model](checkpoint=None)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise MaskError(f"masks.sam.checkpoint: {path} does not fit masks.sam.model {config.model}: {first}") from None
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    return model.to(device).eval().requires_grad_(False)


class AutomaticSam:
    """The ``sam`` generator: prompts on a regular grid, published settings.

    segment_anything upsamples every candidate of a batch of prompts to the image's size; what it keeps is run lengths.
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
        """The masks of an (H, W, 3) uint8 RGB image, whatever points fall on them."""
        records = self._generator.generate(image)
        return ImageMasks(
            (image.shape[0], image.shape[1]),
            tuple(record["segmentation"]["counts"] for record in records),
            np.array([record["area"] for record in records], np.float64),
            np.array([record["predicted_iou"] for record in records], np.float32),
        )


@dataclass(frozen=True, eq=False)
class SamEmbedding:
    """features: (1, C, h, w); valid: (height, width) of the resized image inside the padded square; image: its own."""

    features: torch.Tensor
    valid: tuple[int, int]
    image: tuple[int, int]


class SegmentAnything:
    """``PromptableModel`` for segment_anything's ``Sam`` and models with its interface (MobileSAM)."""

    def __init__(self, model: Sam) -> None:
        self._model = model
        self._side = model.image_encoder.img_size
        self._transform = ResizeLongestSide(self._side)
        self.device = torch.device(model.device)

    @torch.inference_mode()
    def embed(self, image: NDArray[np.uint8]) -> SamEmbedding:
        resized = self._transform.apply_image(np.ascontiguousarray(image))
        tensor = torch.as_tensor(resized, device=self.device).permute(2, 0, 1).float()
        features = self._model.image_encoder(self._model.preprocess(tensor)[None])
        return SamEmbedding(features, resized.shape[:2], image.shape[:2])

    @torch.inference_mode()
    def decode(self, embedding: SamEmbedding, prompts: NDArray[np.float32]) -> Decoded:
        points = torch.as_tensor(self._transform.apply_coords(prompts, embedding.image), device=self.device).float()
        ones = torch.ones((len(prompts), 1), dtype=torch.int, device=self.device)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            sparse, dense = self._model.prompt_encoder(points=(points[:, None], ones), boxes=None, masks=None)
            logits, quality = self._model.mask_decoder(
                image_embeddings=embedding.features,
                image_pe=self._model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
        frame = LogitFrame((self._side, self._side), embedding.valid, embedding.image)
        return Decoded(logits - self._model.mask_threshold, quality.float(), frame)
