"""The segmenter and the architecture of its network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sam_adapt_ros.config.section import Count, Positive, Section


class SegmenterConfig(Section):
    weights: str = "town_small.safetensors"  # a path, or the name of a file that ships with the package
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # auto: float16 on CUDA; the CPU: float32
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads of the model; 0: torch's default
    fusion: Literal["product", "mean"] = "product"
    queue_size: Count = 2  # synchronized frames that may wait for the model; the oldest is dropped, and counted
    autostart: bool = True  # configure and activate without a lifecycle manager
    diagnostics_period: Positive = 1.0


class ArchitectureConfig(Section):
    """The network. Kept in the weights file's metadata; a file that differs from what is asked for is refused."""

    encoder: str = "tu-resnet10t"  # segmentation-models-pytorch encoder name
    encoder_depth: Annotated[int, Field(ge=3, le=5)] = 5
    encoder_stem: Annotated[int, Field(ge=0)] = 0  # stem_width of a timm ResNet; 0: the encoder's own
    encoder_channels: list[int] = Field([])  # channels by stage of a timm ResNet; []: the encoder's own
    first_stride: Literal[0, 1] = 0  # stride of the first convolution; 0: the encoder's own
    decoder_channels: list[int] = Field(
        [64, 48, 32, 32]
    )  # coarse to fine, one less than encoder_depth; the last are sampled
    image_height: Count = 240  # images are resized to this before the image branch
    image_width: Count = 480
    image_mean: Annotated[list[float], Field(min_length=3, max_length=3)] = Field(
        [0.0, 0.0, 0.0]
    )  # RGB, of values in [0, 1]
    image_std: Annotated[list[Positive], Field(min_length=3, max_length=3)] = Field([1.0, 1.0, 1.0])
    image_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    point_width: Count = 16  # m: channels of the point branch's first level, growing by m a level
    point_levels: Annotated[int, Field(ge=2, le=8)] = 4
    point_features: Literal["constant", "offset"] = "constant"  # offset: also where in the voxel its points' mean is
    voxel_size: Positive = 0.1
    voxel_extent: Count = 4096  # voxels a side of the cube around the LiDAR; points outside are moved to its faces
