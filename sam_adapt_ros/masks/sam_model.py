"""Segment Anything (Kirillov et al., ICCV 2023, arXiv 2304.02643), prompted with points.

The code of the model is that of the ``segment_anything`` package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from sam_adapt_ros.masks.promptable_model import Decoded, LogitFrame


@dataclass(frozen=True, eq=False)
class SamEmbedding:
    """The image encoder's output for one image.

    features: (1, C, h, w) float. valid: (height, width) pixels of the resized image inside the padded square.
    image: (height, width) pixels of the image itself.
    """

    features: torch.Tensor
    valid: tuple[int, int]
    image: tuple[int, int]


class SegmentAnything:
    """``PromptableModel`` of segment_anything's ``Sam`` and of models with its interface, such as MobileSAM."""

    def __init__(self, model: Sam) -> None:
        self.model = model
        self._side = model.image_encoder.img_size
        self._transform = ResizeLongestSide(self._side)
        self.device = torch.device(model.device)

    def grid(self, **settings: Any) -> SamAutomaticMaskGenerator:
        return SamAutomaticMaskGenerator(self.model, **settings)

    @torch.inference_mode()
    def embed(self, image: NDArray[np.uint8]) -> SamEmbedding:
        resized = self._transform.apply_image(np.ascontiguousarray(image))
        tensor = torch.as_tensor(resized, device=self.device).permute(2, 0, 1).float()
        features = self.model.image_encoder(self.model.preprocess(tensor)[None])
        return SamEmbedding(features, resized.shape[:2], image.shape[:2])

    @torch.inference_mode()
    def decode(self, embedding: SamEmbedding, prompts: NDArray[np.float32]) -> Decoded:
        points = torch.as_tensor(self._transform.apply_coords(prompts, embedding.image), device=self.device).float()
        ones = torch.ones((len(prompts), 1), dtype=torch.int, device=self.device)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            sparse, dense = self.model.prompt_encoder(points=(points[:, None], ones), boxes=None, masks=None)
            logits, quality = self.model.mask_decoder(
                image_embeddings=embedding.features,
                image_pe=self.model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
        frame = LogitFrame((self._side, self._side), embedding.valid, embedding.image)
        return Decoded(logits - self.model.mask_threshold, quality.float(), frame)
