"""Adaptation while driving: frames, self-training, promotion, monitoring and resources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sam_adapt_ros.config.section import Count, Fraction, NonNegative, Positive, Section
from sam_adapt_ros.config.training import AugmentationConfig


class StoreConfig(Section):
    """The weight store."""

    folder: str = ""  # what the segmenter follows and the adapter writes; "": the segmenter follows nothing
    keep: Annotated[int, Field(ge=0)] = 10  # newest versions kept besides source, current and previous
    poll_period: Positive = 1.0  # how often the segmenter looks at the pointer


class BufferConfig(Section):
    """Frames kept to learn from: a cover of the drive instead of its last minutes."""

    max_frames: Annotated[int, Field(ge=2)] = 200  # training and held-out together
    max_megabytes: Positive = 512.0
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.2  # share of places, and of both limits, kept for the gate
    min_distance: NonNegative = 1.0  # driven between two frames that are kept
    split_block: Positive = 15.0  # side of the squares on the map that are learned from or held out as a whole
    split_gap: NonNegative = 2.5  # between any frame learned from, ever, and any held out
    nominal_speed: Positive = 8.0  # m/s assumed between frames without odometry
    distance_scale: Positive = 30.0  # frames this far apart count as much as entirely different predictions
    novelty: NonNegative = 2.0  # weight of how different predictions and images are, beside distance
    class_balance: NonNegative = 1.0  # weight of classes that are rare in the buffer
    half_life: NonNegative = 1000.0  # considered frames after which a kept frame counts half; 0: never forgets
    image_format: Literal["jpeg", "png"] = "jpeg"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    max_image_height: Annotated[int, Field(ge=0)] = 0  # higher images are scaled down to this; 0: kept as they are
    seed: int = 0  # of the choice of held-out places

    @model_validator(mode="after")
    def _gap_fits_block(self) -> BufferConfig:
        if 2 * self.split_gap >= self.split_block:
            raise ValueError(
                f"split_gap {self.split_gap} leaves nothing of split_block {self.split_block}: less than half expected"
            )
        return self


class BatchNormConfig(Section):
    """How far normalization statistics move from the source's to those of the new domain."""

    target_weight_2d: Fraction = 1.0
    target_weight_3d: Fraction = 0.25  # fully re-estimated, the 3D branch forgets what a sparser LiDAR no longer shows
    batch_size: Count = 4


class FrameChecksConfig(Section):
    """Frames that are not learned from, whatever is predicted of them."""

    min_points: Count = 500  # finite points of a sweep
    min_contrast: NonNegative = 2.0  # standard deviation of an image's grey values, of 255
    min_correlation: Fraction = 0.5  # of an image's neighbouring pixels


class SelfTrainingConfig(Section):
    """Training on pseudo-labels."""

    steps: Annotated[int, Field(ge=0)] = 40
    batch_size: Count = 3
    learning_rate: Positive = 2e-4
    parameters: Literal["all", "affine"] = "all"  # affine: only the normalization layers'
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.95  # of the average of the student; 0: the student itself
    lambda_xm: NonNegative = 0.0  # weight of the cross-modal KL divergence
    class_weight_exponent: NonNegative = 0.25  # rare classes count by their frequency to minus this; 0: all alike
    augmentation: AugmentationConfig = AugmentationConfig(rotation_noise=0.05, translation=1.0, sector=0.25)
    seed: int = 0


class GateConfig(Section):
    """What weights must show on held-out frames before they are used. Consistencies are mean IoUs of two labellings."""

    confident_probability: Fraction = 0.95  # probability from which the source model is taken at its word
    min_source_agreement: Fraction = 0.9  # share of what the source is sure of ...
    source_agreement_tolerance: Fraction = (
        0.05  # ... or this much less than normalization alone agrees on, whichever is lower
    )
    source_agreement_floor: Fraction = 0.75  # but never less than this
    min_entropy_ratio: Fraction = 0.3  # of the source's, or normalization's, mean entropy
    max_single_class_share: Fraction = 0.9  # share of the points for which a branch may say one and the same class
    min_class_share: Fraction = 0.005  # classes with no more of the points may come and go
    min_share_ratio: Fraction = 0.4  # what must be left of a class's share of the points
    max_share_ratio: Annotated[float, Field(ge=1)] = 2.5  # times its share that a class may grow to
    min_branch_kappa: Annotated[float, Field(ge=-1, le=1)] = (
        0.1  # agreement of 2d and 3d beyond chance (Cohen), without which nothing is believed
    )
    consistency_tolerance: Fraction = 0.05  # how much the branches, or augmented and plain, may agree less than in use
    pseudo_label_tolerance: Fraction = 0.05  # the same of the agreement with pseudo-labels over all points
    min_pseudo_label_gain: Fraction = 0.003  # by which agreement with pseudo-labels must rise where a camera sees
    max_class_iou_drop: Fraction = 0.08  # so far a class may lie below the best of those compared with
    min_class_points: Count = 200  # pseudo-labels that a class needs to be judged
    source_miou_tolerance: Fraction = (
        0.02  # mean IoU that may be lost on labelled frames of the source, where there are any
    )


class RollbackConfig(Section):
    """What the segmenter must see of weights in use to roll them back; shares are compared as medians over frames."""

    window: Count = 20  # frames before an exchange that those after it are measured by
    trial: Count = 20  # frames after it that are measured; from then on only a collapse counts
    min_frames: Count = 6  # before, and after, without which nothing is concluded; not finite is a fall at once
    agreement_drop: Fraction = 0.2  # by which 2D and 3D may agree less often, ...
    confidence_drop: Fraction = 0.07  # and the winning probability may be less, ...
    spread: NonNegative = 3.0  # ... or so many standard deviations of the frames before, whichever is more
    histogram_shift: Fraction = 0.5  # share of the points that may change their class
    max_single_class_share: Fraction = 0.97  # share of the points that may be of one class
    agreement_floor: Fraction = 0.25  # after the trial: of what the weights showed in it; nightfall leaves 0.48
    confidence_floor: Fraction = 0.6

    @model_validator(mode="after")
    def _enough_frames(self) -> RollbackConfig:
        if self.min_frames > min(self.window, self.trial):
            raise ValueError(f"min_frames {self.min_frames} is more than window {self.window} or trial {self.trial}")
        return self


class DriftConfig(Section):
    """What makes a round due before there are ``rounds.new_frames``: frames unlike those after the last round.

    On drives through the town, windows of one and the same drive differ by up to 0.21, 0.013 and 0.1; day and night by
    0.1, 0.00 and 0.33; two kinds of LiDAR by 0.3, 0.05 and 0.1.
    """

    window: Count = 20  # frames that are compared with as many
    histogram: Fraction = 0.27  # of the classes: half the sum of the differences of their shares
    confidence: Fraction = 0.04  # difference of the labels' mean probability
    tone: Fraction = 0.15  # of the images' mean colour
    new_frames: Count = 10  # kept since the last round began; more than all of rounds.new_frames: drift is ignored


class SourceConfig(Section):
    """Labelled frames of the source domain. The gate judges by some of them, whatever the mode; with mode
    ``with_source`` batches mix in the others."""

    bags: list[str] = Field([])
    config: str = ""  # a preset or YAML file that says what their topics are; "": as configured for the vehicle
    batch_share: Annotated[float, Field(gt=0, le=0.9)] = 0.5  # of each batch's frames, and of the loss
    max_frames: Count = 100  # kept in memory, evenly spaced
    held_out: Fraction = 0.2  # share at the end of each bag that is judged by instead of learned from


class RoundConfig(Section):
    """When a round of learning begins, and what it tries."""

    min_frames: Count = 20  # in the buffer to learn from
    min_held_out: Count = 4  # and to judge by
    new_frames: Count = 20  # kept since the last round began
    scene_color_distance: NonNegative = (
        0.22  # frames whose mean colour is farther from the present ones' are of another scene, and
    )
    # neither learned from nor judged by until it returns; 0: all frames count
    initial_weights: Literal["source", "current"] = "source"  # whose weights the student may start from
    averaging_weights: list[Fraction] = Field(
        [0.5, 1.0]
    )  # candidates: weights of the student in its average with its start
    checkpoint_every: Count = 10  # steps of self-training


class ResourceConfig(Section):
    """What the adapter's process may take of the machine."""

    threads: Count = 1  # of the CPU
    nice: Annotated[int, Field(ge=0, le=19)] = 19
    duty_cycle: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the time in which it computes
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3  # of the card's memory


class AdaptationConfig(Section):
    """Learning while driving."""

    # source_free: from the vehicle's own frames alone; with_source: batches mix in labelled frames of the source;
    # observe: everything but training, so as to measure
    mode: Literal["source_free", "with_source", "observe"] = "source_free"
    resources: ResourceConfig = ResourceConfig()
    store: StoreConfig = StoreConfig()
    buffer: BufferConfig = BufferConfig()
    frame_checks: FrameChecksConfig = FrameChecksConfig()
    batchnorm: BatchNormConfig = BatchNormConfig()
    temperature_scaling: bool = True  # a candidate's branches are weighed by what the teacher says of held-out frames
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    gate: GateConfig = GateConfig()
    rollback: RollbackConfig = RollbackConfig()
    drift: DriftConfig = DriftConfig()
    source: SourceConfig = SourceConfig()
    rounds: RoundConfig = RoundConfig()
