"""Supervised training on source data, and the augmentation that it shares with self-training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sam_adapt_ros.config.section import Count, NonNegative, Positive, Section


class AugmentationConfig(Section):
    """xMUDA's augmentation, journal version."""

    rotation_noise: NonNegative = 0.1  # standard deviation of the noise on the rotation matrix
    max_rotation: NonNegative = 3.15  # radians about z, either way
    translation: NonNegative = 5.0  # metres at most, along each axis: moves the points against the voxel grid
    sector: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the circle (at random) whose unseen points stay
    crop_image: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the width (at random) that stays
    color_jitter: NonNegative = 0.4  # brightness, contrast, saturation


class TrainingConfig(Section):
    """Supervised training on source data."""

    bags: list[str] = Field([])  # with ground truth
    validation_bags: list[str] = Field([])
    architecture: str = "small"  # config/architectures/<name>.yaml or a path
    output: str = "out/train"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    points: Literal["all", "seen"] = "all"  # seen: only points that a camera sees, as published
    iterations: Count = 100_000
    batch_size: Count = 8
    learning_rate: Positive = 1e-3
    schedule: Literal["milestones", "one_cycle"] = "milestones"
    lambda_xm: NonNegative = 1.0  # weight of the cross-modal KL divergence
    checkpoint_every: Count = 500
    workers: Annotated[int, Field(ge=0)] = 1  # threads that prepare batches ahead
    seed: int = 0
    augmentation: AugmentationConfig = AugmentationConfig()
