"""Class-agnostic masks: which generator makes them, and its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sam_adapt_ros.config.section import Count, Fraction, Positive, Section


class SegmentsConfig(Section):
    """Masks from the points alone: clusters at nested scales, and the ground, split by image regions."""

    radius_per_metre: Positive = 0.03  # points are joined within this share of their horizontal range ...
    min_radius: Positive = 0.3  # ... and, along the line of sight, at least this ...
    max_radius: Positive = 2.0  # ... and at most that; all three for the finest scale, doubled by each further one
    scales: Annotated[int, Field(ge=1, le=4)] = 2


class RegionsConfig(Section):
    """Masks from the image alone: felzenszwalb's graph segmentation at nested scales."""

    width: Count = 400  # pixels that the image is scaled down to for the finest scale, half of it for the others
    scales: list[float] = Field([30.0, 150.0, 600.0])  # finest first: larger values give larger regions


class SamConfig(Section):
    """SAM's model and the published settings of its automatic grid."""

    model: str = "vit_h"  # a name of segment_anything's registry: vit_h, vit_l, vit_b
    checkpoint: str = ""  # the model's file as published
    device: Literal["auto", "cpu", "cuda"] = "auto"
    points_per_side: Count = 32  # prompts of the automatic grid: this squared
    points_per_batch: Count = 64
    pred_iou_thresh: float = 0.88  # masks of lower predicted IoU are dropped; also by sam_lidar
    stability_score_thresh: float = 0.95  # so are masks that change with the threshold; also by sam_lidar
    box_nms_thresh: Fraction = 0.7  # and masks whose box a better mask has; also by sam_lidar


class SamLidarConfig(Section):
    """SAM prompted by LiDAR points; model and thresholds are SamConfig's."""

    prompts: Count = 128
    prompts_per_batch: Annotated[int, Field(ge=0)] = 0  # 0: 16 on a CPU (memory), 64 on a GPU (occupancy)


class MaskConfig(Section):
    generator: str = "segments"  # segments, regions, sam, sam_lidar, instances, or several joined by "+"
    min_points: Count = 3  # masks with fewer points on them are not kept
    cache: str = ""  # folder that masks are kept in, by content; "": they are not
    segments: SegmentsConfig = SegmentsConfig()
    regions: RegionsConfig = RegionsConfig()
    sam: SamConfig = SamConfig()
    sam_lidar: SamLidarConfig = SamLidarConfig()
