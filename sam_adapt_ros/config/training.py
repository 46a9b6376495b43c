"""Supervised training on source data, and the augmentation that it shares with self-training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sam_adapt_ros.config.section import Count, FilePath, Fraction, NonNegative, Positive, Section

Size = Annotated[str, Field(pattern=r"^([1-9]\d*x[1-9]\d*)?$")]
ImageSize = Annotated[str, Field(pattern=r"^([1-9]\d*x[1-9]\d*|whole)?$")]


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


class RecipeConfig(Section):
    """How a data set's frames are trained on.

    In xMUDA (journal version), nuScenes' images are 400x225 and A2D2's 480x302, SemanticKITTI's are whole, of which
    480x302 are cropped in training, and vKITTI has 10,000 points.
    """

    image: ImageSize = Field(
        "", description="Size that images are resized to, such as 400x225; whole: none; empty: the architecture's"
    )
    crop: Size = Field(
        "", description="Size, such as 480x302, of the part of an image's lowest rows that is trained on; empty: all"
    )
    max_points: int = Field(0, ge=0, description="Points, drawn at random, that are trained on each time; 0: all")
    repeat: Count = Field(1, description="How often a frame comes in the time that others come once")


class DataConfig(RecipeConfig):
    """A data set, or one of its splits, to train or validate on. ``<name>`` is any; the sets of a role are joined."""

    role: Literal["source", "target", "validation"] = Field(
        "source", description="source: learned from with its labels; target: without; validation: validated on"
    )
    dataset: str = Field("bag", description="Name of the data set, such as nuscenes or semantickitti, or bag")
    roots: list[FilePath] = Field([], description="Folders that hold it; of bags, these or folders of them")
    split: str = Field("", description="Part of the data set, by its name there; empty: all of it")
    recordings: list[str] = Field([], description="Names of its scenes, sequences or bags, or patterns; empty: all")
    cameras: list[str] = Field([], description="Whose images are used; empty: all")
    allow_missing: bool = Field(False, description="Whether recordings that are not on disk are left out, and said")


class TrainingConfig(Section):
    """Supervised training on source data."""

    bags: list[FilePath] = Field([], description="Bags, or folders of bags, with ground truth to train on")
    validation_bags: list[FilePath] = Field(
        [], description="Bags, or folders of bags, with ground truth to validate on at every checkpoint"
    )
    data: dict[str, DataConfig] = Field({})
    samples: Literal["auto", "memory", "disk"] = Field(
        "auto",
        description="Where samples are between two uses: in memory, for small sets, or on disk, whence processes read "
        "them each time; auto: in memory, and on disk where there is ``data``",
    )
    architecture: FilePath = Field("small", description="config/architectures/<name>.yaml, or a YAML file")
    encoder_weights: FilePath = Field(
        "",
        description="What the image branch's encoder starts from: imagenet (weights of timm), a file of weights, or "
        "empty: random weights",
    )
    encoder_rate: Positive = Field(
        0.1, description="Learning rate of an encoder that starts from encoder_weights, relative; as published: 1"
    )
    output: FilePath = Field("out/train", description="Folder for weights, checkpoint and validation")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train; auto: CUDA if there is")
    points: Literal["all", "seen"] = Field(
        "all", description="Points to train on: all, or as published those that a camera sees"
    )
    iterations: Count = Field(100_000, description="Batches to train on")
    batch_size: Count = Field(8, description="Frames a batch, of the source and of the target each; of all devices")
    learning_rate: Positive = Field(1e-3, description="Highest learning rate (Adam)")
    schedule: Literal["milestones", "one_cycle"] = Field(
        "milestones",
        description="milestones: a tenth of the learning rate at each of them; one_cycle: up, then down",
    )
    milestones: list[Fraction] = Field([0.8, 0.9], description="Shares of the iterations at which the rate falls")
    lambda_xm: NonNegative = Field(1.0, description="Weight of the cross-modal KL divergence (xMUDA)")
    lambda_xm_target: NonNegative = Field(0.1, description="The same of the target's frames")
    lambda_pl: NonNegative = Field(1.0, description="Weight of the cross entropy of the target's pseudo-labels")
    initial_weights: FilePath = Field("", description="Weights file to start from; empty: a new network")
    temperature_scaling: bool = Field(
        True,
        description="Whether each branch's logits are scaled by a temperature, fitted to the validation data, before "
        "weights are written",
    )
    checkpoint_every: Count = Field(500, description="Iterations between two checkpoints")
    workers: int = Field(
        1, ge=0, description="Threads that prepare batches ahead, a device; processes where samples are on disk"
    )
    seed: int = Field(0, description="Seed of the initial network, the batches and their augmentation")
    augmentation: AugmentationConfig = AugmentationConfig()
