"""MobileSAM (Zhang et al., arXiv 2306.14289): SAM with TinyViT (Wu et al., ECCV 2022) as its image encoder.

TinyViT is timm's; prompt encoder and mask decoder are segment_anything's, as in the published code, whose own package
is not maintained. Checkpoints are read as published (``mobile_sam.pt``).
"""

from __future__ import annotations

import re
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import TinyVit
from torch import nn

WIDTH = 256  # channels of the embedding
SIDE = 1024  # pixels of the square that images are padded to
STRIDE = 16  # pixels per cell of the embedding

# The published name of a weight -> timm's. A stage's downsampling is the next stage's in timm.
_PUBLISHED_NAMES = (
    (re.compile(r"^patch_embed\.seq\.0\."), lambda match: "patch_embed.conv1."),
    (re.compile(r"^patch_embed\.seq\.2\."), lambda match: "patch_embed.conv2."),
    (re.compile(r"^layers\.(\d+)\.downsample\."), lambda match: f"stages.{int(match[1]) + 1}.downsample."),
    (re.compile(r"^layers\."), lambda match: "stages."),
    (re.compile(r"\.c\.weight$"), lambda match: ".conv.weight"),
)
_CLASSIFIER = re.compile(r"^(head|norm_head)\.")  # of the pretraining; not used


class TinyVitEncoder(nn.Module):
    """(1, 3, 1024, 1024) normalized image -> (1, 256, 64, 64) features. Loads weights by their published names."""

    img_size = SIDE

    def __init__(self) -> None:
        super().__init__()
        tiny_vit: Any = TinyVit(
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        tiny_vit.stages[-1].downsample.conv2.conv.stride = (1, 1)  # MobileSAM keeps the resolution of SAM's embedding
        self.patch_embed, self.stages = tiny_vit.patch_embed, tiny_vit.stages
        self.neck = nn.Sequential(
            nn.Conv2d(320, WIDTH, kernel_size=1, bias=False),
            LayerNorm2d(WIDTH),
            nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(WIDTH),
        )
        self.register_load_state_dict_pre_hook(_rename)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.neck(self.stages(self.patch_embed(image)))


def _rename(module: nn.Module, weights: dict[str, torch.Tensor], prefix: str, *rest: Any) -> None:
    """Renames the published weights in place, before they are loaded."""
    for name in [name for name in weights if name.startswith(prefix)]:
        new = name[len(prefix) :]
        if _CLASSIFIER.match(new):
            del weights[name]
            continue
        for pattern, replacement in _PUBLISHED_NAMES:
            new = pattern.sub(replacement, new)
        weights[prefix + new] = weights.pop(name)


def build_mobile_sam() -> Sam:
    """MobileSAM with random weights, as its published ``build_sam_vit_t``."""
    cells = SIDE // STRIDE
    return Sam(
        image_encoder=TinyVitEncoder(),  # type: ignore[arg-type]  # what Sam uses of an encoder, it has
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH, image_embedding_size=(cells, cells), input_image_size=(SIDE, SIDE), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8),
            transformer_dim=WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    )
