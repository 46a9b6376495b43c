"""Whether further inputs of the points, and images of one angular resolution, pay on real data: small networks trained
with and without, on places other than those that they are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from sam_adapt_ros import benchmarks
from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.mounting import drive
from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig, find_weights
from sam_adapt_ros.datasets import Selection, SemanticKitti
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate, voxel_channels
from sam_adapt_ros.segmentation.image_branch import ImageBranch
from sam_adapt_ros.segmentation.point_branch import PointBranch
from sam_adapt_ros.simulation.drive import frames as render
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.batch_stream import BatchStream, count_classes
from sam_adapt_ros.training.learning_rate import warm_up_cosine
from sam_adapt_ros.training.losses import class_weights, cross_entropy

SMALL = ArchitectureConfig(
    encoder="tu-resnet10t",
    encoder_stem=16,
    encoder_channels=[24, 32, 48, 64],
    decoder_channels=[32, 24, 16, 16],
    image_height=192,
    image_width=384,
    image_mean=[0.45, 0.45, 0.45],
    image_std=[0.25, 0.25, 0.25],
)
"""An image branch small enough to be trained several times in minutes."""
RATE, FINE_RATE = 5e-3, 1e-3
"""Highest learning rates, from random weights and from the bundled ones."""
PLACES = tuple(f"{number:02d}" for number in range(8))
FOLDS = tuple(PLACES[first : first + 2] for first in range(0, 8, 2))
"""Two places measured on, the other six trained on."""
INPUTS: dict[str, list[str]] = {
    "none": [],
    "intensity": ["intensity"],
    "range": ["range"],
}
FOCAL = 215.0
"""Pixels of a resampled image, per unit of the tangent: KITTI's 81 degrees then fill the network's width."""
POINTS = AugmentationConfig(sector=0.125, translation=1.0)
IMAGES = AugmentationConfig(crop_image=1.0)

Trained = Callable[[Batch], torch.Tensor]
"""(N, C) logits of the points (of those that a camera sees, for images) of a batch."""


def run(quick: bool = False) -> list[Figure]:
    """Minutes of one core; nothing without the real frames."""
    data = benchmarks.real_data()
    if data is None or not (data / "semantickitti").is_dir():
        return []
    with threadpool_limits(1):
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [*_point_inputs(data, 10 if quick else 80), *_lens(data, 10 if quick else 150)]
        finally:
            torch.set_num_threads(before)


# Points -----------------------------------------------------------------------------------------------------------


def _point_inputs(data: Path, iterations: int) -> list[Figure]:
    """Of the bundled model's point branch, trained on; on all points of the places that it was not trained on."""
    bundled = weights_files.load(find_weights("town_small"))
    taxonomy = Taxonomy.load(bundled.taxonomy)
    by_place = {place: _sweeps(data, (place,), taxonomy) for place in PLACES}
    found: dict[str, list[float]] = {}
    for name, inputs in INPUTS.items():
        architecture = bundled.architecture.model_copy(update={"point_inputs": inputs})
        samples = {
            place: [Sample.from_frame(frame, architecture) for frame in frames] for place, frames in by_place.items()
        }
        for held_out in FOLDS:
            torch.manual_seed(0)
            branch = _extended(bundled.state, len(taxonomy), architecture)
            learned = [each for place in PLACES if place not in held_out for each in samples[place]]
            logits = _train(
                branch, _point_logits(branch), learned, len(taxonomy), architecture, POINTS, iterations, FINE_RATE
            )
            measured = [each for place in held_out for each in samples[place]]
            found.setdefault(name, []).append(_miou(logits, measured, len(taxonomy), architecture, seen=False))
    plain = np.array(found["none"])
    figures = []
    for name, scores in found.items():
        gain = np.array(scores) - plain
        note = f"by fold {', '.join(f'{score:.3f}' for score in scores)}"
        if name != "none":
            note += f"; gain {gain.mean():+.3f} ± {gain.std(ddof=1):.3f}, better on {(gain > 0).sum()} of {len(gain)}"
        figures.append(Figure(f"3D, further inputs: {name}", float(np.mean(scores)), "mIoU", note=note))
    return figures


def _extended(state: Mapping[str, torch.Tensor], classes: int, architecture: ArchitectureConfig) -> PointBranch:
    """The point branch of a network's state, which at first makes nothing of the further inputs."""
    channels = voxel_channels(architecture)
    branch = PointBranch(classes, architecture.point_width, architecture.point_levels, channels)
    own = {name.removeprefix("points."): tensor for name, tensor in state.items() if name.startswith("points.")}
    stem = own["stem.weight"]
    own["stem.weight"] = torch.cat([stem, stem.new_zeros(*stem.shape[:-1], channels - stem.shape[-1])], -1)
    branch.load_state_dict(own)
    return branch


def _sweeps(data: Path, places: tuple[str, ...], taxonomy: Taxonomy) -> list[Frame]:
    dataset = SemanticKitti([data / "semantickitti"], Selection(names=places), taxonomy)
    return [replace(dataset[index], views=()) for index in range(len(dataset))]


def _point_logits(branch: PointBranch) -> Trained:
    return lambda batch: branch(batch.voxels, batch.features, batch.voxel_of_point, batch.frames).logits


# Images -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shift:
    """A lens that is learned with, and another one; images through each."""

    name: str
    learned: list[Frame]
    measured: list[Frame]


def _lens(data: Path, iterations: int) -> list[Figure]:
    """Of the image branch alone, on the points that a camera sees."""
    taxonomy = Taxonomy.load("town")
    kitti = SemanticKitti([data / "semantickitti"], Selection(names=PLACES), taxonomy)
    karlsruhe, street = list(kitti), drive(data / "pandaset_002", 3)
    day = [frame for seed in (20001, 20002) for frame in render("day", seed, 12, 2.0)]
    other = list(render("other_lidar", 20003, 12, 2.0))
    figures = []
    for shift in (
        _Shift("KITTI (81 degrees) to PandaSet (52 degrees)", karlsruhe, street),
        _Shift("town, day to other_lidar", day, other),
    ):
        for name, focal in (("squeezed", 0.0), ("of one angular resolution", FOCAL)):
            architecture = SMALL.model_copy(update={"image_focal": focal})
            torch.manual_seed(0)
            branch = ImageBranch(len(taxonomy), architecture)
            learned, measured = (
                [Sample.from_frame(frame, architecture) for frame in frames]
                for frames in (shift.learned, shift.measured)
            )
            learned, measured = ([each.only(each.camera >= 0) for each in samples] for samples in (learned, measured))
            logits = _train(
                branch, _image_logits(branch), learned, len(taxonomy), architecture, IMAGES, iterations, RATE
            )
            score = _miou(logits, measured, len(taxonomy), architecture, seen=True)
            figures.append(Figure(f"2D, {shift.name}: images {name}", score, "mIoU"))
    return figures


def _image_logits(branch: ImageBranch) -> Trained:
    return lambda batch: branch(batch.images, batch.image_of_seen, batch.uv).logits


# Both -------------------------------------------------------------------------------------------------------------


def _train(
    branch: torch.nn.Module,
    logits: Trained,
    samples: Sequence[Sample],
    classes: int,
    architecture: ArchitectureConfig,
    augmentation: AugmentationConfig,
    iterations: int,
    rate: float,
) -> Trained:
    """Trains a branch on true labels, and leaves it in evaluation mode. Returns ``logits``."""
    weights = class_weights(count_classes(samples, classes))
    optimizer = torch.optim.Adam(branch.parameters(), rate, foreach=True)
    stream = BatchStream(samples, architecture, augmentation, 2, 0)
    branch.train()
    for iteration in range(iterations):
        batch = stream.batch(iteration)
        for group in optimizer.param_groups:
            group["lr"] = rate * warm_up_cosine(iteration, iterations)
        assert batch.labels is not None
        predicted = logits(batch)
        labels = batch.labels if len(predicted) == len(batch.labels) else batch.labels[batch.seen]
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(predicted, labels, weights).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    branch.eval()
    return logits


@torch.inference_mode()
def _miou(
    logits: Trained, samples: Iterable[Sample], classes: int, architecture: ArchitectureConfig, *, seen: bool
) -> float:
    """Over the classes that the measured places have."""
    confusion = Confusion(classes)
    for sample in samples:
        assert sample.labels is not None
        batch = collate([sample], architecture)
        truth = sample.labels[batch.seen.numpy()] if seen else sample.labels
        confusion.add(truth, logits(batch).argmax(1).numpy().astype(np.uint8))
    return confusion.miou()
