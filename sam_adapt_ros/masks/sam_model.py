"""Segment Anything (Kirillov et al., ICCV 2023): loading a checkpoint, and prompting the model with points.

The code of the model is that of the ``segment_anything`` package.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from sam_adapt_ros.config import SamConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.masks.checkpoint import load_checkpoint
from sam_adapt_ros.masks.promptable_model import Decoded, LogitFrame


def load_sam(config: SamConfig) -> Sam:
    """Loads the model ``config.model`` with the weights of ``config.checkpoint`` onto ``config.device``.

    Raises:
        MaskError: unknown model, missing or damaged file, weights of another model, or no CUDA device.
    """
    if config.model not in sam_model_registry:
        raise MaskError(f"masks.sam.model: unknown model {config.model!r}; use one of {', '.join(sam_model_registry)}")
    if not config.checkpoint:
        raise MaskError(
            f"masks.sam.checkpoint: no file given; download the {config.model} checkpoint of segment_anything and set "
            "this parameter to its path, or choose masks.generator 'segments', which needs no weights"
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise MaskError("masks.sam.device: torch finds no CUDA device; use 'auto' or 'cpu', or install torch with CUDA")
    model = load_checkpoint(
        partial(sam_model_registry[config.model], checkpoint=None),
        Path(config.checkpoint),
        "masks.sam.checkpoint",
        f"masks.sam.model {config.model}",
    )
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    return model.to(device).eval().requires_grad_(False)


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
