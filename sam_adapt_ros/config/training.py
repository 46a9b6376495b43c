"""Supervised training on source data, and the augmentation that it shares with self-training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sam_adapt_ros.config.section import Count, FilePath, NonNegative, Positive, Section


class AugmentationConfig(Section):
    """Random changes of training samples (xMUDA, journal version)."""

    rotation_noise: NonNegative = Field(0.1, description="Standard deviation of the noise on the rotation matrix")
    max_rotation: NonNegative = Field(3.15, description="Largest rotation about z, either way [rad]")
    translation: NonNegative = Field(
        5.0, description="Largest shift along each axis, which moves the points against the voxel grid [m]"
    )
    sector: float = Field(
        1.0, gt=0, le=1, description="Share of the circle whose points stay, besides those that a camera sees"
    )
    crop_image: float = Field(1.0, gt=0, le=1, description="Share of the image's width that stays")
    color_jitter: NonNegative = Field(0.4, description="Largest relative change of brightness, contrast, saturation")


class TrainingConfig(Section):
    """Supervised training on source data."""

    bags: list[FilePath] = Field([], description="Bags, or folders of bags, with ground truth to train on")
    validation_bags: list[FilePath] = Field(
        [], description="Bags, or folders of bags, with ground truth to validate on at every checkpoint"
    )
    architecture: FilePath = Field("small", description="config/architectures/<name>.yaml, or a YAML file")
    encoder_weights: str = Field(
        "",
        description="What the image branch's encoder starts from: imagenet (weights of timm), a file of weights, or "
        "empty: random weights",
    )
    output: FilePath = Field("out/train", description="Folder for weights, checkpoint and validation")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train; auto: CUDA if there is")
    points: Literal["all", "seen"] = Field(
        "all", description="Points to train on: all, or as published those that a camera sees"
    )
    iterations: Count = Field(100_000, description="Batches to train on")
    batch_size: Count = Field(8, description="Frames a batch")
    learning_rate: Positive = Field(1e-3, description="Highest learning rate (Adam)")
    schedule: Literal["milestones", "one_cycle"] = Field(
        "milestones",
        description="milestones: a tenth of the learning rate after 80 and again after 90 %; one_cycle: up, then down",
    )
    lambda_xm: NonNegative = Field(1.0, description="Weight of the cross-modal KL divergence (xMUDA)")
    checkpoint_every: Count = Field(500, description="Iterations between two checkpoints")
    workers: int = Field(1, ge=0, description="Threads that prepare batches ahead")
    seed: int = Field(0, description="Seed of the initial network, the batches and their augmentation")
    augmentation: AugmentationConfig = AugmentationConfig()
