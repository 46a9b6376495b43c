"""The image branch (2D): a U-Net over a timm encoder, whose features are sampled at the points' pixels.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015.
"""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
import torch
from timm.models.efficientnet import EfficientNetFeatures
from torch import Tensor, nn
from torch.nn import functional

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.segmentation.batchnorm_folding import fold_batchnorm
from sam_adapt_ros.segmentation.heads import BranchOutput, DualHeads
from sam_adapt_ros.segmentation.segmentation_network import autocast


class ImageBranch(nn.Module):
    """Images and the points' pixels -> logits of the points.

    The U-Net stops at the resolution of the encoder's first feature map (the image's own with ``first_stride`` 1, as in
    xMUDA, half of it otherwise): its last block would only upsample, which bilinear sampling does for less. Dropout
    acts on the two coarsest feature maps, as in xMUDA.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, architecture: ArchitectureConfig) -> None:
        super().__init__()
        depth, channels = architecture.encoder_depth, list(architecture.decoder_channels)
        if len(channels) != depth - 1:
            raise ConfigError(
                f"architecture.decoder_channels: {depth - 1} (encoder_depth - 1) expected, got {channels}"
            )
        try:
            unet = smp.Unet(
                architecture.encoder,
                encoder_depth=depth,
                encoder_weights=None,
                decoder_channels=[*channels, channels[-1]],
                **_encoder_options(architecture),
            )
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"architecture.encoder: {architecture.encoder}: {error}") from None
        self.encoder, self.decoder = unet.encoder, unet.decoder
        self.decoder.blocks = self.decoder.blocks[:-1]
        _remove_unused_stages(self.encoder)
        if architecture.first_stride:
            _set_first_stride(self.encoder, architecture.first_stride)
        self.multiple = 1 << depth
        self.dropout = nn.Dropout(architecture.image_dropout)
        self.heads = DualHeads(channels[-1], classes)
        self.register_buffer("mean", torch.tensor(architecture.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.image_std).view(1, 3, 1, 1), persistent=False)

    def prepare_for_inference(self) -> ImageBranch:
        """A copy that computes the same faster: the BatchNorm layers are folded into the convolutions, and kernels are
        laid out with channels last, as the images are."""
        side = 2 * self.multiple
        image = (torch.arange(3 * side * side, device=self.mean.device) % 251).to(torch.uint8).view(1, 3, side, side)
        other = fold_batchnorm(self, lambda branch: branch.feature_map(image))
        return other.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def feature_map(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """(K, 3, H, W) uint8 RGB -> (K, F, h, w), over the image padded on the right and below to a fitting size."""
        x = images.float().div_(255).sub_(self.mean).div_(self.std)
        height, width = x.shape[2:]
        x = functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        # On a CPU, channels last is faster in the forward pass and slower in the backward pass.
        layout = torch.contiguous_format if self.training else torch.channels_last
        with autocast(x.device, precision):
            maps = self.encoder(x.contiguous(memory_format=layout))
            return self.decoder([*maps[:-2], self.dropout(maps[-2]), self.dropout(maps[-1])])

    def forward(
        self, images: Tensor, image_of_pixel: Tensor, uv: Tensor, precision: torch.dtype = torch.float32
    ) -> BranchOutput:
        """Predictions at M pixels.

        images: (K, 3, H, W) uint8 RGB.
        image_of_pixel: (M,) int64 in [0, K).
        uv: (M, 2) float32 pixels of these images, centres at integers.
        precision: of the feature maps; they are interpolated and classified in float32.
        """
        if not len(uv):
            return self.heads(self.heads.classify.weight.new_zeros(0, self.heads.classify.in_features))
        maps = self.feature_map(images, precision)
        stride = (images.shape[3] + -images.shape[3] % self.multiple) // maps.shape[3]
        return self.heads(sample_bilinear(maps, image_of_pixel, (uv + 0.5) / stride - 0.5))


def sample_bilinear(maps: Tensor, map_of_sample: Tensor, uv: Tensor) -> Tensor:
    """(M, F) features of several maps, interpolated bilinearly; constant beyond the border pixels.

    maps: (K, F, h, w). map_of_sample: (M,) int64 in [0, K). uv: (M, 2) pixels of the maps, centres at integers.
    """
    _, channels, height, width = maps.shape
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    u, v = uv[:, 0].clamp(0, width - 1), uv[:, 1].clamp(0, height - 1)
    left, top = u.floor(), v.floor()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    wu, wv = (u - left).unsqueeze(1), (v - top).unsqueeze(1)
    start = map_of_sample * (height * width)

    def at(column: Tensor, row: Tensor) -> Tensor:
        return table.index_select(0, start + row.long() * width + column.long()).float()

    upper = torch.lerp(at(left, top), at(right, top), wu)
    lower = torch.lerp(at(left, bottom), at(right, bottom), wu)
    return torch.lerp(upper, lower, wv)


def _encoder_options(architecture: ArchitectureConfig) -> dict[str, Any]:
    """Keyword arguments of the timm encoder: what the architecture sets differently from the encoder's own."""
    options: dict[str, Any] = {}
    if architecture.encoder_stem:
        options["stem_width"] = architecture.encoder_stem
    if architecture.encoder_channels:
        options["channels"] = tuple(architecture.encoder_channels)
    return options


def _remove_unused_stages(encoder: nn.Module) -> None:
    """timm's EfficientNets keep the stages behind the last feature map; they would be computed for nothing."""
    model = getattr(encoder, "model", None)
    if isinstance(model, EfficientNetFeatures):
        model.blocks = model.blocks[: max(model._stage_out_idx)]


def _set_first_stride(encoder: nn.Module, stride: int) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (stride, stride)
            return
