"""Adaptation while driving: frames, self-training, promotion, monitoring and resources."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sam_adapt_ros.config.section import Count, FilePath, Fraction, NonNegative, Positive, Section
from sam_adapt_ros.config.training import AugmentationConfig

AdaptationMode = Literal["source_free", "with_source", "observe"]
Criterion = Literal["source_agreement", "collapse", "branch_agreement", "consistency", "class_iou"]


class StoreConfig(Section):
    """The weight store."""

    folder: FilePath = Field(
        "", description="Folder that the adapter writes and the segmenter follows; empty: the segmenter follows none"
    )
    keep: int = Field(10, ge=0, description="Newest versions to keep, besides source, current and previous")
    poll_period: Positive = Field(1.0, description="Time between two looks of the segmenter at the store [s]")


class BufferConfig(Section):
    """Frames kept to learn from: they cover the drive instead of its last minutes."""

    max_frames: int = Field(200, ge=2, description="Frames kept, training and held-out ones together")
    max_megabytes: Positive = Field(512.0, description="Memory for frames, the held-out ones included [MB]")
    held_out: float = Field(
        0.2, ge=0, le=0.5, description="Share of the places, and of both limits, that is kept for the promotion gate"
    )
    min_points: Count = Field(500, description="Sweeps with fewer labelled points are not learned from")
    min_distance: NonNegative = Field(1.0, description="Distance driven between two frames that are kept [m]")
    split_block: Positive = Field(
        15.0, description="Side of the squares on the map that are learned from or held out as a whole [m]"
    )
    split_gap: NonNegative = Field(
        2.5, description="Least distance of any frame learned from to any held-out one; less than half a block [m]"
    )
    half_life: NonNegative = Field(
        1000.0, description="Considered frames after which a kept frame counts half; 0: it never counts less"
    )
    image_format: Literal["jpeg", "png"] = Field("jpeg", description="How images are kept; png is exact, and larger")
    max_image_height: int = Field(
        0, ge=0, description="Higher images are scaled down to this height; 0: kept as they are [px]"
    )
    seed: int = Field(0, description="Seed of the choice of held-out places")

    @model_validator(mode="after")
    def _gap_fits_block(self) -> BufferConfig:
        if 2 * self.split_gap >= self.split_block:
            raise ValueError(
                f"split_gap {self.split_gap} leaves nothing of split_block {self.split_block}: less than half expected"
            )
        return self


class BatchNormConfig(Section):
    """BatchNorm statistics: how far they move from the source's to those of the vehicle's frames."""

    target_weight_2d: Fraction = Field(1.0, description="Weight of the frames' statistics in the 2D branch")
    # Fully re-estimated, the 3D branch forgets what a sparser LiDAR no longer shows.
    target_weight_3d: Fraction = Field(0.25, description="Weight of the frames' statistics in the 3D branch")


class SelfTrainingConfig(Section):
    """Training of the student on pseudo-labels."""

    steps: int = Field(
        200, ge=0, description="Batches to train on at most; 0: BatchNorm statistics are all that adapts"
    )
    epochs: Positive = Field(5.0, description="How often every frame is trained on, while there are steps left")
    batch_size: Count = Field(3, description="Frames a batch")
    learning_rate: Positive = Field(5e-4, description="Highest learning rate (Adam, warm-up and cosine)")
    parameters: Literal["all", "affine"] = Field(
        "all", description="What is trained; affine: scales and offsets of the BatchNorm layers"
    )
    ema_decay: float = Field(
        0.95, ge=0, lt=1, description="Decay of the exponential moving average of the student's weights; 0: no average"
    )
    lambda_xm: NonNegative = Field(0.0, description="Weight of the cross-modal KL divergence (xMUDA)")
    class_weight_exponent: NonNegative = Field(
        0.25, description="Classes are weighted by their frequency to minus this; 0: all alike"
    )
    augmentation: AugmentationConfig = AugmentationConfig(rotation_noise=0.05, translation=1.0, sector=0.25)
    seed: int = Field(0, description="Seed of the batches and their augmentation")


class GateConfig(Section):
    """What candidate weights must show on held-out frames before they are used."""

    criteria: list[Criterion] = Field(
        ["source_agreement", "collapse", "branch_agreement", "consistency", "class_iou"],
        min_length=1,
        description="Criteria that candidates have to meet; fewer only to study one of them",
    )
    min_class_points: Count = Field(200, description="Pseudo-labels that a class needs to be evaluated")
    consistency_tolerance: Fraction = Field(
        0.05, description="How much less than with the weights in use the branches, or augmented and plain, may agree"
    )
    pseudo_label_tolerance: Fraction = Field(
        0.05, description="How much less than the weights in use a candidate may agree with all pseudo-labels"
    )
    min_pseudo_label_gain: Fraction = Field(
        0.003, description="How much more a candidate has to agree with the pseudo-labels of points that a camera sees"
    )
    confidence: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="Share of the draws of held-out frames in which that agreement has to be no worse; and in which a "
        "class has to be worse by over ``max_class_iou_drop``, to be a reason against a candidate",
    )
    fused_tolerance: Fraction = Field(
        0.02, description="How much less than the weights in use the fused labels alone may agree with them"
    )
    max_class_iou_drop: Fraction = Field(
        0.08,
        description="How far a class's agreement may lie below the best of the weights in use, source and BatchNorm",
    )
    source_miou_tolerance: Fraction = Field(
        0.02, description="Mean IoU that may be lost on labelled frames of the source, where there are any"
    )


class RollbackConfig(Section):
    """Frames by which the segmenter evaluates the weights in use, to roll them back."""

    window: Count = Field(20, description="Frames before an exchange of weights that those after it are compared with")
    trial: Count = Field(20, description="Frames after an exchange that are compared; later only a collapse counts")
    min_frames: Count = Field(6, description="Frames before and after an exchange without which nothing is concluded")

    @model_validator(mode="after")
    def _enough_frames(self) -> RollbackConfig:
        if self.min_frames > min(self.window, self.trial):
            raise ValueError(f"min_frames {self.min_frames} is more than window {self.window} or trial {self.trial}")
        return self


class DriftConfig(Section):
    """Frames unlike those after the last round make another round due before ``rounds.new_frames`` are there."""

    window: Count = Field(20, description="Frames now that are compared with as many after the last round")
    new_frames: Count = Field(
        10, description="Frames kept since the last round that it takes; more than rounds.new_frames: never"
    )


class SourceConfig(Section):
    """Labelled frames of the source domain: some evaluate candidates in every mode; with mode ``with_source`` the
    others are mixed into the batches."""

    bags: list[FilePath] = Field([], description="Bags, or folders of bags, with ground truth; empty: none")
    config: FilePath = Field("", description="Preset or YAML file with the bags' topics; empty: the vehicle's")
    batch_share: float = Field(0.5, gt=0, le=0.9, description="Share of source frames in each batch, and of the loss")
    max_frames: Count = Field(100, description="Frames kept in memory, evenly spaced")
    held_out: Fraction = Field(0.2, description="Share of each bag, at its end, held out to evaluate candidates")


class RoundConfig(Section):
    """When a round of learning begins, and what it tries."""

    min_frames: Count = Field(20, description="Training frames of the present scene that a round needs")
    min_held_out: Count = Field(4, description="Held-out frames of the present scene that a round needs")
    new_frames: Count = Field(20, description="Frames kept since the last round that make the next one due")
    scene_color_distance: NonNegative = Field(
        0.22,
        description="Frames whose mean colour (RGB from 0 to 1) differs more from the present one's are of another "
        "scene and wait until it returns; 0: all frames count",
    )
    initial_weights: Literal["source", "current"] = Field("source", description="Whose weights the student starts from")
    averaging_weights: list[Fraction] = Field(
        [0.5], description="Candidates: weights of the student in its average with what it started from"
    )
    checkpoint_every: Count = Field(10, description="Steps of self-training between two checkpoints")


class ResourceConfig(Section):
    """What the adapter's process may take of the machine."""

    threads: Count = Field(1, description="CPU threads")
    nice: int = Field(19, ge=0, le=19, description="Nice level; 19 is the lowest priority")
    duty_cycle: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the time in which a round computes; while a sweep is being labelled it stands still, "
        "too, for half of the time at most",
    )
    gpu_memory_fraction: float = Field(0.3, gt=0, le=1, description="Share of the GPU's memory")


class AdaptationConfig(Section):
    """Learning while driving."""

    mode: AdaptationMode = Field(
        "source_free",
        description="source_free: from the vehicle's frames alone; with_source: batches mix in labelled frames of the "
        "source; observe: everything but training",
    )
    temperature_scaling: bool = Field(
        True, description="Whether candidates' branches are weighed against each other on held-out frames"
    )
    resources: ResourceConfig = ResourceConfig()
    store: StoreConfig = StoreConfig()
    buffer: BufferConfig = BufferConfig()
    batchnorm: BatchNormConfig = BatchNormConfig()
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    gate: GateConfig = GateConfig()
    rollback: RollbackConfig = RollbackConfig()
    drift: DriftConfig = DriftConfig()
    source: SourceConfig = SourceConfig()
    rounds: RoundConfig = RoundConfig()
