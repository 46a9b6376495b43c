"""The one schema. ROS parameters, YAML files and the command line are three views of it.

Only values that ROS parameters can hold are used (bool, int, float, str and lists of one of them), nested in sections
whose dotted names are the parameter names: ``segmenter.device``, ``cameras.CAM_FRONT.image``. An empty string stands
for "not given". Lengths are metres, times are seconds, angles are radians unless a name says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sam_adapt_ros import resources
from sam_adapt_ros.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of parameters; unknown names are errors, so that a typing slip is never silently a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class LidarConfig(Section):
    topic: str = "/LIDAR_TOP"  # sensor_msgs/PointCloud2


class CameraConfig(Section):
    image: str  # sensor_msgs/Image or CompressedImage topic; the type is found from the graph or the bag
    info: str = ""  # sensor_msgs/CameraInfo topic; "": intrinsics come from the calibration file
    frame_id: str = ""  # optical frame; "": the image's own header.frame_id
    rectified: bool = False  # True: the image is rectified, so R and P hold and D is ignored
    time_offset: float = 0.0  # added to the camera's stamps to bring them to the LiDAR's clock
    instances: str = ""  # mono16 Image topic of true instance ids (simulators only)


class TransformConfig(Section):
    odometry_frame: str = "odom"  # the fixed frame that the vehicle's motion is undone through
    base_frame: str = "base_link"
    odometry_topic: str = "/odom"  # nav_msgs/Odometry, used where TF is not to be had
    calibration_file: str = ""  # extrinsics and intrinsics where TF or CameraInfo is missing; "": the bag's own
    timeout: NonNegative = 0.1  # how long a sweep waits for TF or odometry at its stamps
    max_extrapolation: NonNegative = 0.1  # poses are extrapolated at constant velocity at most this far


class SyncConfig(Section):
    camera_timeout: NonNegative = 0.1  # how long a sweep waits for its images
    camera_tolerance: NonNegative = 0.06  # an image belongs to a sweep when their stamps differ by no more
    queue_size: Count = 8  # sweeps that may wait; the oldest is dropped, and counted, when more do
    max_backward_jump: NonNegative = 1.0  # stamps that go back further are a looping bag or a clock jump: start anew


class GroundTruthConfig(Section):
    topic: str = "/ground_truth/labels"  # label cloud; used by replay and evaluation only
    mapping: str = ""  # the taxonomy's mapping that its class_id goes through; "": already class ids


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
    encoder_channels: list[int] = []  # channels by stage of a timm ResNet; []: the encoder's own
    first_stride: Literal[0, 1] = 0  # stride of the first convolution; 0: the encoder's own
    decoder_channels: list[int] = [64, 48, 32, 32]  # coarse to fine, one less than encoder_depth; the last are sampled
    image_height: Count = 240  # images are resized to this before the image branch
    image_width: Count = 480
    image_mean: Annotated[list[float], Field(min_length=3, max_length=3)] = [0.0, 0.0, 0.0]  # RGB, of values in [0, 1]
    image_std: Annotated[list[Positive], Field(min_length=3, max_length=3)] = [1.0, 1.0, 1.0]
    image_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    point_width: Count = 16  # m: channels of the point branch's first level, growing by m a level
    point_levels: Annotated[int, Field(ge=2, le=8)] = 4
    point_features: Literal["constant", "offset"] = "constant"  # offset: also where in the voxel its points' mean is
    voxel_size: Positive = 0.1
    voxel_extent: Count = 4096  # voxels a side of the cube around the LiDAR; points outside are moved to its faces


class AugmentationConfig(Section):
    """xMUDA's augmentation, journal version."""

    rotation_noise: NonNegative = 0.1  # standard deviation of the noise on the rotation matrix
    rotate: bool = True  # about z
    max_rotation: NonNegative = 3.15  # radians, either way
    translation: NonNegative = 5.0  # metres at most, along each axis: moves the points against the voxel grid
    sector: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the circle (at random) whose unseen points stay
    flip_points: Fraction = 0.5  # probability
    flip_image: Fraction = 0.5  # probability
    crop_image: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the width (at random) that stays
    color_jitter: NonNegative = 0.4  # brightness, contrast, saturation


class TrainingConfig(Section):
    """Supervised training on source data."""

    bags: list[str] = []  # with ground truth
    validation_bags: list[str] = []
    preset: str = "small"  # config/architectures/<preset>.yaml or a path
    output: str = "out/train"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    points: Literal["all", "seen"] = "all"  # seen: only points that a camera sees, as published
    iterations: Count = 100_000
    batch_size: Count = 8
    learning_rate: Positive = 1e-3
    schedule: Literal["milestones", "one_cycle"] = "milestones"
    milestones: list[float] = [0.8, 0.9]  # learning rate x0.1 at these shares of the iterations
    weight_decay: NonNegative = 0.0
    lambda_xm: NonNegative = 1.0  # weight of the cross-modal KL divergence
    class_weights: bool = True  # log(5 N / N_c) / min, as published
    checkpoint_every: Count = 500
    half: bool = True  # the weights file stores matrices as float16
    workers: Annotated[int, Field(ge=0)] = 1  # threads that prepare batches ahead
    seed: int = 0
    augmentation: AugmentationConfig = AugmentationConfig()


class SegmentsConfig(Section):
    """Masks from the points alone: clusters at nested scales, and the ground, split by image regions."""

    radius_per_metre: Positive = 0.03  # points are joined within this share of their horizontal range ...
    min_radius: Positive = 0.3  # ... and, along the line of sight, at least this ...
    max_radius: Positive = 2.0  # ... and at most that; all three for the finest scale, doubled by each further one
    scales: Annotated[int, Field(ge=1, le=4)] = 2
    vertical_stretch: Positive = 2.0  # how much farther apart in height: beams are sparser than the points along them
    max_slope: Positive = 0.15  # rise by run, against the plane around the vehicle, that ground may have
    ground_tolerance: Positive = 0.15  # points no higher above the ground ...
    ground_tolerance_per_metre: NonNegative = 0.002  # ... than this and this share of their range are on it
    ground_regions: bool = True  # split the ground by image regions; False: the ground is one mask
    ground_width: Count = 256  # pixels that the image is scaled down to for that
    ground_scale: Positive = 80.0  # felzenszwalb's scale there


class RegionsConfig(Section):
    """Masks from the image alone: felzenszwalb's graph segmentation at nested scales."""

    width: Count = 400  # pixels that the image is scaled down to for the finest scale, half of it for the others
    scales: list[float] = [30.0, 150.0, 600.0]  # finest first: larger values give larger regions
    sigma: NonNegative = 0.8  # Gaussian smoothing, pixels of the scaled image
    min_size: Count = 20  # pixels of the scaled image


class SamConfig(Section):
    """SAM's model and the published settings of its automatic grid."""

    model: str = "vit_h"  # a name of segment_anything's registry: vit_h, vit_l, vit_b
    checkpoint: str = ""  # the model's file as published
    device: Literal["auto", "cpu", "cuda"] = "auto"
    points_per_side: Count = 32  # prompts of the automatic grid: this squared
    points_per_batch: Count = 64
    pred_iou_thresh: float = 0.88  # masks of lower predicted IoU are dropped; also by sam_lidar
    stability_score_thresh: float = 0.95  # so are masks that change with the threshold; also by sam_lidar
    stability_score_offset: Positive = 1.0
    box_nms_thresh: Fraction = 0.7  # and masks whose box a better mask has; also by sam_lidar


class SamLidarConfig(Section):
    """SAM prompted by LiDAR points; model and thresholds are SamConfig's."""

    prompts: Count = 128
    prompts_per_batch: Annotated[int, Field(ge=0)] = 0  # 0: 16 on a CPU (memory), 64 on a GPU (occupancy)
    depth_weight: NonNegative = 0.5  # spread: this many image widths apart is a depth e times larger
    covered_weight: Fraction = 0.25  # spread: distances count this much where masks already are
    labelled_weight: Fraction = 0.5  # spread: and this much where points are already labelled


class MaskConfig(Section):
    generator: str = "segments"  # segments, regions, sam, sam_lidar, instances, or several joined by "+"
    min_points: Count = 3  # masks with fewer points on them are not kept
    cache: str = ""  # folder that masks are kept in, by content; "": they are not
    segments: SegmentsConfig = SegmentsConfig()
    regions: RegionsConfig = RegionsConfig()
    sam: SamConfig = SamConfig()
    sam_lidar: SamLidarConfig = SamLidarConfig()


class SelectionConfig(Section):
    """Which of the segmenter's own predictions are trusted: those above a threshold a class, min(quantile, cap)."""

    source: Literal["fused", "image", "points"] = "fused"  # whose winning class and probability
    agreement: bool = False  # only where the image's and the points' winning classes are the same
    quantile: Fraction = 0.5  # of the winning probabilities of a predicted class, over the stream
    cap: Fraction = 0.9  # no threshold is higher
    bins: Annotated[int, Field(ge=10, le=100_000)] = 2000  # of the running histogram; thresholds are exact to 1 / bins
    half_life: NonNegative = 200.0  # frames after which a frame's weight in the histogram is halved; 0: never forgets


class VisibilityConfig(Section):
    """Which points the camera cannot see because a nearer surface covers their pixel."""

    enabled: bool = False
    cell: Positive = 0.003  # radians a cell of the depth image; no less than the LiDAR's step in azimuth
    window: Count = 8  # cells above and below that a nearer surface must be met within; bridges the gap between beams
    margin: NonNegative = 0.5  # metres that it must be nearer by, ...
    margin_per_metre: NonNegative = 0.05  # ... or this share of the point's depth, whichever is more


class EnhancementConfig(Section):
    """Mask label assignment and geometry-aware propagation.

    The first two are chosen on drives through the town (night, abroad, sparse, seeds 60 to 62; ``sam-adapt ablate``):
    of those tried whose loss of precision against selection stays within 1.5 points in every domain, interval
    included, the ones of most coverage.
    """

    min_points: Count = 5  # labelled points a mask needs
    min_purity: Fraction = 0.9  # share of the labelled points that carry the most frequent class
    min_representativity: Fraction = 0.05  # share of the mask's points that are labelled
    radius_per_metre: NonNegative = 0.05  # propagation radius by the nearer point's range, ...
    min_radius: Positive = 0.3  # ... clipped to this ...
    max_radius: Positive = 2.0  # ... and that
    relabel: bool = True  # points that carry another class than their mask's may be given the mask's
    propagation: Literal["gapp", "direct", "none"] = "gapp"

    @model_validator(mode="after")
    def _ordered_radii(self) -> EnhancementConfig:
        if self.min_radius > self.max_radius:
            raise ValueError(f"min_radius {self.min_radius} is larger than max_radius {self.max_radius}")
        if self.max_radius == float("inf"):
            raise ValueError("max_radius has to be finite")
        return self


class PseudoLabelConfig(Section):
    selection: SelectionConfig = SelectionConfig()
    visibility: VisibilityConfig = VisibilityConfig()
    enhancement: EnhancementConfig = EnhancementConfig()


class StoreConfig(Section):
    """The weight store."""

    folder: str = ""  # what the segmenter follows and the adapter writes; "": the segmenter follows nothing
    keep: Annotated[int, Field(ge=0)] = 10  # newest versions kept besides source, current and previous
    lock_timeout: Positive = 10.0  # how long a change waits for another process's
    poll_period: Positive = 1.0  # how often the segmenter looks at the pointer


class BufferConfig(Section):
    """Frames kept to learn from: a cover of the drive instead of its last minutes."""

    max_frames: Annotated[int, Field(ge=2)] = 200  # training and held-out together
    max_megabytes: Positive = 512.0
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.2  # share of places, and of both limits, kept for the gate
    min_distance: NonNegative = 1.0  # driven between two frames that are kept
    block: Positive = 15.0  # side of the squares on the map that are learned from or held out as a whole
    gap: NonNegative = 2.5  # between any frame learned from, ever, and any held out
    nominal_speed: Positive = 8.0  # m/s assumed between frames without odometry
    distance_scale: Positive = 30.0  # frames this far apart count as much as entirely different predictions
    novelty: NonNegative = 2.0  # weight of how different predictions and images are, beside distance
    class_balance: NonNegative = 1.0  # weight of classes that are rare in the buffer
    half_life: NonNegative = 1000.0  # offered frames after which a kept frame counts half; 0: never forgets
    image_format: Literal["jpeg", "png"] = "jpeg"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    max_image_height: Annotated[int, Field(ge=0)] = 0  # higher images are scaled down to this; 0: kept as they are
    seed: int = 0  # of the choice of held-out places

    @model_validator(mode="after")
    def _gap_fits_block(self) -> BufferConfig:
        if 2 * self.gap >= self.block:
            raise ValueError(f"gap {self.gap} leaves nothing of a block of {self.block}: less than half of it expected")
        return self


class NormalizationConfig(Section):
    """How far normalization statistics move from the source's to those of the new domain."""

    image: Fraction = 1.0
    points: Fraction = 0.25  # re-estimated fully, the point branch forgets what a sparser LiDAR no longer shows
    batch_size: Count = 4


class PlausibilityConfig(Section):
    """Frames that are not learned from, whatever is predicted of them."""

    min_points: Count = 500  # finite points of a sweep
    min_contrast: NonNegative = 2.0  # standard deviation of an image's grey values, of 255
    min_correlation: Fraction = 0.5  # of an image's neighbouring pixels


class TeacherConfig(Section):
    """Who makes the pseudo-labels."""

    source_votes: bool = True  # the source model, as it is, has half a say
    vote_cell: NonNegative = 0.2  # metres; sweeps vote on what is in a cubic cell of the map; 0: each for itself


class SelfTrainingConfig(Section):
    """Training on pseudo-labels."""

    steps: Annotated[int, Field(ge=0)] = 40
    batch_size: Count = 3
    learning_rate: Positive = 2e-4
    warm_up: Fraction = 0.1  # share of the steps over which the learning rate rises; it falls by a cosine after
    parameters: Literal["all", "affine"] = "all"  # affine: only the normalization layers'
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.95  # of the average of the student; 0: the student itself
    lambda_xm: NonNegative = 0.0  # weight of the cross-modal KL divergence
    class_balance: NonNegative = 0.25  # rare classes count by their frequency to minus this; 0: all alike
    augmentation: AugmentationConfig = AugmentationConfig(rotation_noise=0.05, translation=1.0, sector=0.25)
    seed: int = 0


class GateConfig(Section):
    """What weights must show on held-out frames before they are used. Consistencies are mean IoUs of two labellings."""

    sure: Fraction = 0.95  # probability from which the source model is taken at its word
    min_anchor_agreement: Fraction = 0.9  # share of what the source is sure of ...
    anchor_tolerance: Fraction = 0.05  # ... or this much less than normalization alone agrees on, whichever is lower
    anchor_floor: Fraction = 0.75  # but never less than this
    min_entropy: Fraction = 0.3  # of the source's, or normalization's, mean entropy
    max_most: Fraction = 0.9  # share of the points for which a branch may say one and the same class
    min_share: Fraction = 0.005  # classes with no more of the points may come and go
    max_shrink: Fraction = 0.4  # what must be left of a class's share of the points
    max_growth: Annotated[float, Field(ge=1)] = 2.5  # times its share that a class may grow to
    min_kappa: Annotated[float, Field(ge=-1, le=1)] = (
        0.1  # agreement of 2d and 3d beyond chance (Cohen), without which nothing is believed
    )
    tolerance: Fraction = 0.05  # how much the branches, or augmented and plain, may agree less than in use
    label_tolerance: Fraction = 0.05  # the same of the agreement with pseudo-labels over all points
    min_gain: Fraction = 0.003  # by which agreement with pseudo-labels must rise where a camera sees
    max_class_drop: Fraction = 0.08  # so far a class may lie below the best of those compared with
    min_class_points: Count = 200  # pseudo-labels that a class needs to be judged
    replay_tolerance: Fraction = 0.02  # mean IoU that may be lost on labelled frames of the source, where there are any


class WatchConfig(Section):
    """What the segmenter must see of weights in use to roll them back; shares are compared as medians over frames."""

    window: Count = 20  # frames before an exchange that those after it are measured by
    trial: Count = 20  # frames after it that are measured; from then on only a collapse counts
    min_frames: Count = 6  # before, and after, without which nothing is concluded; not finite is a fall at once
    agreement_drop: Fraction = 0.2  # by which 2D and 3D may agree less often, ...
    confidence_drop: Fraction = 0.07  # and the winning probability may be less, ...
    spread: NonNegative = 3.0  # ... or so many standard deviations of the frames before, whichever is more
    histogram_shift: Fraction = 0.5  # share of the points that may change their class
    max_most: Fraction = 0.97  # share of the points that may be of one class
    agreement_floor: Fraction = 0.25  # after the trial: of what the weights showed in it; nightfall leaves 0.48
    confidence_floor: Fraction = 0.6

    @model_validator(mode="after")
    def _enough_frames(self) -> WatchConfig:
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

    bags: list[str] = []
    config: str = ""  # a preset or YAML file that says what their topics are; "": as configured for the vehicle
    share: Annotated[float, Field(gt=0, le=0.9)] = 0.5  # of each batch's frames, and of the loss
    max_frames: Count = 100  # kept in memory, evenly spaced
    held_out: Fraction = 0.2  # share at the end of each bag that is judged by instead of learned from


class RoundConfig(Section):
    """When a round of learning begins, and what it tries."""

    min_frames: Count = 20  # in the buffer to learn from
    min_held_out: Count = 4  # and to judge by
    new_frames: Count = 20  # kept since the last round began
    scene: NonNegative = 0.22  # frames whose mean colour is farther from the present ones' are of another scene, and
    # neither learned from nor judged by until it returns; 0: all frames count
    start: Literal["source", "current"] = "source"  # whose weights the student may start from
    blends: list[Fraction] = [0.5, 1.0]  # candidates: shares of the way from the student's start to the student
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
    plausibility: PlausibilityConfig = PlausibilityConfig()
    normalization: NormalizationConfig = NormalizationConfig()
    calibrate: bool = True  # a candidate's branches are weighed by what the teacher says of held-out frames
    teacher: TeacherConfig = TeacherConfig()
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    gate: GateConfig = GateConfig()
    watch: WatchConfig = WatchConfig()
    drift: DriftConfig = DriftConfig()
    source: SourceConfig = SourceConfig()
    rounds: RoundConfig = RoundConfig()


class Config(Section):
    taxonomy: str = ""  # a shipped class set or a YAML file; "": the one that the weights are of
    lidar: LidarConfig = LidarConfig()
    cameras: dict[str, CameraConfig] = {}
    transforms: TransformConfig = TransformConfig()
    sync: SyncConfig = SyncConfig()
    ground_truth: GroundTruthConfig = GroundTruthConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    training: TrainingConfig = TrainingConfig()
    masks: MaskConfig = MaskConfig()
    pseudo_labels: PseudoLabelConfig = PseudoLabelConfig()
    adaptation: AdaptationConfig = AdaptationConfig()

    @classmethod
    def load(cls, name: str | Path, overrides: dict[str, Any] | None = None) -> Config:
        """Reads a preset's name (``town``, ``nuscenes``, ``kitti``) or a YAML file, ROS 2 parameter files included.

        overrides: dotted name -> value, taking precedence.
        Raises ConfigError that names the file and every field that does not fit.
        """
        name = str(name)
        try:
            path = resources.find(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml", "config")
        except FileNotFoundError as error:
            raise ConfigError(f"configuration: {error}") from None
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not YAML: {error}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: a mapping expected, got {type(data).__name__}")
        return cls.from_flat({**flatten(_without_ros_header(data)), **(overrides or {})}, source=str(path))

    @classmethod
    def from_flat(cls, values: dict[str, Any], source: str = "parameters") -> Config:
        """From dotted names, the form ROS parameters have. Raises ConfigError that names source and fields."""
        nested: dict[str, Any] = {}
        for name, value in values.items():
            *parents, leaf = name.split(".")
            section = nested
            for parent in parents:
                section = section.setdefault(parent, {})
                if not isinstance(section, dict):
                    raise ConfigError(f"{source}: {name}: {parent} is a value, not a section")
            section[leaf] = value
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
            raise ConfigError(f"{source}: " + "; ".join(lines)) from None

    def to_flat(self) -> dict[str, Any]:
        """Dotted names -> values: what ``from_flat`` takes and what the nodes declare."""
        return flatten(self.model_dump())


def load_recipe(name: str | Path) -> dict[str, Any]:
    """Dotted names -> values of a recipe, that override a configuration: ``config/recipes/<name>.yaml`` or a YAML file.

    Raises ConfigError that names the file.
    """
    name = str(name)
    try:
        path = resources.find(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml", "config/recipes")
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ConfigError(f"recipe: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping expected, got {type(data).__name__}")
    return flatten(data)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _without_ros_header(data: dict[str, Any]) -> dict[str, Any]:
    """The content of a ROS 2 parameter file (``/**: ros__parameters: ...``), or the mapping itself."""
    for node in data.values():
        if isinstance(node, dict) and "ros__parameters" in node:
            return {key: value for key, value in node["ros__parameters"].items() if key != "use_sim_time"}
    return data
