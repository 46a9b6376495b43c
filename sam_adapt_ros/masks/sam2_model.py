"""SAM 2 (Ravi et al., arXiv 2408.00714) on single images. The code of the model is that of the ``sam2`` package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor

from sam_adapt_ros.masks.promptable_model import Decoded, LogitFrame


def build_sam2_model(name: str) -> SAM2Base:
    """A SAM 2 with random weights. name: of its published checkpoint, without the suffix: ``sam2.1_hiera_tiny``."""
    configurations = {PurePosixPath(file).stem: config for config, file in HF_MODEL_ID_TO_FILENAMES.values()}
    return build_sam2(configurations[name], device="cpu", apply_postprocessing=False)


@dataclass(frozen=True, eq=False)
class Sam2Embedding:
    """The image encoder's output for one image.

    features: (1, C, h, w), and of higher resolutions, with fewer channels, ``fine``. image: (height, width) pixels.
    """

    features: torch.Tensor
    fine: list[torch.Tensor]
    image: tuple[int, int]


class Sam2:
    """``PromptableModel`` of the ``sam2`` package's model. It resizes images to a square, without padding."""

    def __init__(self, model: SAM2Base) -> None:
        self.model = model
        self.device = torch.device(model.device)
        self._predictor = SAM2ImagePredictor(model)

    def grid(self, **settings: Any) -> SAM2AutomaticMaskGenerator:
        return SAM2AutomaticMaskGenerator(self.model, **settings)

    @torch.inference_mode()
    def embed(self, image: NDArray[np.uint8]) -> Sam2Embedding:
        self._predictor.set_image(np.ascontiguousarray(image))
        features = self._predictor._features
        self._predictor.reset_predictor()
        return Sam2Embedding(features["image_embed"], features["high_res_feats"], image.shape[:2])

    @torch.inference_mode()
    def decode(self, embedding: Sam2Embedding, prompts: NDArray[np.float32]) -> Decoded:
        height, width = embedding.image
        scale = torch.tensor([self.model.image_size / width, self.model.image_size / height], device=self.device)
        points = torch.as_tensor(prompts, device=self.device).float() * scale
        ones = torch.ones((len(prompts), 1), dtype=torch.int, device=self.device)
        sparse, dense = self.model.sam_prompt_encoder(points=(points[:, None], ones), boxes=None, masks=None)
        logits, quality, _, _ = self.model.sam_mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self.model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=True,
            high_res_features=embedding.fine,
        )
        size = (int(logits.shape[-2]), int(logits.shape[-1]))
        return Decoded(logits, quality.float(), LogitFrame(size, size, embedding.image))
