"""The segmenter and the architecture of its network."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sam_adapt_ros.config.section import Count, FilePath, NonNegative, Positive, Section


class SegmenterConfig(Section):
    """The model that labels the sweeps."""

    weights: FilePath = Field("town_small", description="Weights file: a path, or the name of the package's")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs; auto: CUDA if there is")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        description="Number format of the model; auto: float16 on CUDA, bfloat16 for the images on CPUs that have it",
    )
    sparse_backend: Literal["auto", "torch", "spconv"] = Field(
        "auto",
        description="Computes the 3D branch, with the same results; auto: spconv on CUDA where it works and is "
        "faster, else torch",
    )
    threads: int = Field(
        0, ge=0, description="CPU threads of the model; 0: half of the cores, since busy cores slow all threads down"
    )
    fusion: Literal["product", "mean"] = Field(
        "product", description="How the probabilities of the 2D and the 3D branch are fused"
    )
    queue_size: Count = Field(
        2, description="Frames that may wait for the model; when more do, the oldest is dropped and counted"
    )
    autostart: bool = Field(True, description="Whether the node configures and activates itself, without a manager")
    diagnostics_period: Positive = Field(1.0, description="Time between two diagnostics messages [s]")


class ArchitectureConfig(Section):
    """The network. Kept in the weights file's metadata; a file that differs from the configuration is refused."""

    network: str = Field("xmuda", description="The package's own network, or one that an installed package registers")
    options: dict[str, Any] = Field({}, description="Settings of a registered network, as it defines them")
    encoder: str = Field("tu-resnet10t", description="Encoder of the 2D branch (segmentation-models-pytorch name)")
    encoder_depth: int = Field(5, ge=3, le=5, description="Stages of the encoder, each half as fine as the one before")
    encoder_stem: int = Field(0, ge=0, description="stem_width of a timm ResNet; 0: the encoder's own")
    encoder_channels: list[int] = Field([], description="Channels by stage of a timm ResNet; empty: the encoder's own")
    first_stride: Literal[0, 1] = Field(0, description="Stride of the first convolution; 0: the encoder's own")
    decoder_channels: list[int] = Field(
        [64, 48, 32, 32],
        description="Channels of the decoder, coarse to fine, one less than encoder_depth; points sample the last",
    )
    image_height: Count = Field(240, description="Height that images are resized to [px]")
    image_width: Count = Field(480, description="Width that images are resized to [px]")
    image_focal: NonNegative = Field(
        0.0,
        description="Focal length that images are resized to, padded or cut off at their margins, so that all lenses "
        "show things at one size; 0: images are squeezed to the network's [px]",
    )
    image_mean: list[float] = Field(
        [0.0, 0.0, 0.0], min_length=3, max_length=3, description="Subtracted from the colours, RGB from 0 to 1"
    )
    image_std: list[Positive] = Field(
        [1.0, 1.0, 1.0], min_length=3, max_length=3, description="Colours less image_mean are divided by this"
    )
    image_dropout: float = Field(0.4, ge=0, lt=1, description="Dropout probability of the 2D branch")
    point_width: Count = Field(16, description="Channels m of the 3D branch's first level; level n has n m")
    point_levels: int = Field(4, ge=2, le=8, description="Levels of the 3D branch's U-Net")
    point_features: Literal["constant", "offset"] = Field(
        "constant", description="Input of a voxel: 1, or also the offset of its points' mean from its centre"
    )
    point_inputs: list[Literal["intensity", "range"]] = Field(
        [],
        description="Further input of a voxel, the mean over its points: intensity, by rank within the sweep, since "
        "sensors have scales of their own; range, the distance from the LiDAR",
    )
    voxel_size: Positive = Field(0.1, description="Side of a voxel [m]")
    voxel_extent: Count = Field(
        4096, le=2**18, description="Voxels a side of the cube around the LiDAR; points outside get no label"
    )
