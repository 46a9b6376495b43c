"""Class-agnostic masks: which generator makes them, and its settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sam_adapt_ros.config.section import Count, FilePath, Fraction, Positive, Section


class SegmentsConfig(Section):
    """Masks from the points alone: clusters at nested scales, and the ground, split by image regions."""

    radius_per_metre: Positive = Field(
        0.03, description="Radius per metre of horizontal range within which points join a cluster"
    )
    min_radius: Positive = Field(0.3, description="Smallest radius along the line of sight [m]")
    max_radius: Positive = Field(2.0, description="Largest radius [m]")
    scales: int = Field(2, ge=1, le=4, description="Nested scales, each of twice the radius of the one before")


class RegionsConfig(Section):
    """Masks from the image alone: graph segmentation (Felzenszwalb and Huttenlocher) at nested scales."""

    width: Count = Field(400, description="Width that the image is scaled down to, half of it for coarser scales [px]")
    scales: list[float] = Field([30.0, 150.0, 600.0], description="Finest first; larger values give larger regions")


class SamConfig(Section):
    """Segment Anything, MobileSAM or SAM 2: the model, and the published settings of its automatic grid."""

    model: str = Field(
        "auto",
        description="auto: as the checkpoint shows; vit_h, vit_l, vit_b; mobile_sam; sam2_hiera_ or sam2.1_hiera_ with "
        "tiny, small, base_plus, large",
    )
    checkpoint: FilePath = Field("", description="The model's checkpoint file, as published")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs; auto: CUDA if there is")
    points_per_side: Count = Field(32, description="The automatic grid has this squared prompts")
    points_per_batch: Count = Field(
        64, description="Prompts of the automatic grid at a time, fewer where memory is short"
    )
    pred_iou_thresh: float = Field(0.88, description="Masks of lower predicted IoU are dropped; also by sam_lidar")
    stability_score_thresh: float = Field(
        0.95, description="Masks that change more with the logits' threshold are dropped; also by sam_lidar"
    )
    box_nms_thresh: Fraction = Field(
        0.7, description="Of masks whose boxes' IoU is larger only the best is kept; also by sam_lidar"
    )


class SamLidarConfig(Section):
    """Segment Anything prompted by LiDAR points; model and thresholds are those of ``masks.sam``."""

    prompts: Count = Field(128, description="Points that prompt the model, per image")
    prompts_per_batch: int = Field(0, ge=0, description="Prompts chosen at a time; 0: 16 on a CPU, 64 on a GPU")


class MaskConfig(Section):
    """Masks of an image, over the points that fall on them."""

    generator: str = Field(
        "segments", description='segments, regions, sam, sam_lidar or instances, or several joined by "+"'
    )
    min_points: Count = Field(3, description="Masks with fewer points on them are dropped")
    cache: FilePath = Field("", description="Folder that keeps masks by content, for further passes; empty: none")
    segments: SegmentsConfig = SegmentsConfig()
    regions: RegionsConfig = RegionsConfig()
    sam: SamConfig = SamConfig()
    sam_lidar: SamLidarConfig = SamLidarConfig()
