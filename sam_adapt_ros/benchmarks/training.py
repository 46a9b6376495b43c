"""The loader of data sets, its speed and its memory, and what a training step takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.benchmarks.timing import cpu_milliseconds
from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig, RecipeConfig, load_architecture
from sam_adapt_ros.datasets import Selection, open_dataset
from sam_adapt_ros.pipelines.layouts import town_layout
from sam_adapt_ros.segmentation.logits import forward
from sam_adapt_ros.segmentation.networks import build
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.batch_stream import DividedBatchStream
from sam_adapt_ros.training.frame_samples import FrameSamples, TrainingSet
from sam_adapt_ros.training.loader import map_ahead
from sam_adapt_ros.training.losses import xmuda_losses
from sam_adapt_ros.training.train_step import add_terms, train_step

_RECIPES = {
    "nuscenes": ("nuscenes6", RecipeConfig(image="400x225")),
    "a2d2": ("a2d2_semantickitti10", RecipeConfig(image="480x302")),
    "semantickitti": ("a2d2_semantickitti10", RecipeConfig(image="whole", crop="480x302")),
    "virtual_kitti": ("vkitti_semantickitti6", RecipeConfig(image="whole", crop="480x302", max_points=10_000)),
}
"""By data set: a class set that has its mapping, and xMUDA's recipe."""
_BATCH = 8
_MEMORY_FRAMES, _WARM_FRAMES = 2000, 400


def run(quick: bool = False) -> list[Figure]:
    """Of each data set as the simulator writes it, and of real SemanticKITTI frames where there are some."""
    architecture = load_architecture("paper")
    figures = []
    for name in _RECIPES:
        figures += _loading(name, [town_layout(name, 4)], "simulated frames", architecture, 2 if quick else 8)
    data = real_data()
    if data is not None and (data / "semantickitti").is_dir():
        figures += _loading("semantickitti", [data / "semantickitti"], "real frames", architecture, 2 if quick else 8)
    figures += _memory(200 if quick else _MEMORY_FRAMES, architecture)
    return [*figures, _step(load_architecture("small"))]


def _samples(name: str, roots: list[Path], architecture: ArchitectureConfig, repeat: int = 1) -> FrameSamples:
    taxonomy, recipe = _RECIPES[name]
    selection = Selection(cameras=("CAM_FRONT",), allow_missing=True)
    dataset = open_dataset(name, roots, selection, Taxonomy.load(taxonomy))
    repeated = recipe.model_copy(update={"repeat": repeat})
    return FrameSamples([TrainingSet(dataset, repeated)], architecture, seen_only=True)


def _stream(samples: FrameSamples, architecture: ArchitectureConfig) -> DividedBatchStream:
    return DividedBatchStream(samples, architecture, AugmentationConfig(), _BATCH, 0, vary=samples.vary)


def town_stream(name: str, architecture: ArchitectureConfig, batch_size: int) -> tuple[DividedBatchStream, Taxonomy]:
    """Batches of simulated frames in a data set's layout, read and ready in memory, and their classes."""
    samples = _samples(name, [town_layout(name, 4)], architecture)
    samples.load()
    stream = _stream(samples, architecture)
    stream.batch_size = batch_size
    return stream, Taxonomy.load(_RECIPES[name][0])


def _loading(name: str, roots: list[Path], what: str, architecture: ArchitectureConfig, batches: int) -> list[Figure]:
    stream = _stream(_samples(name, roots, architecture), architecture)
    numbers: Iterator[int] = iter(range(batches + 1))
    seconds = cpu_milliseconds(lambda: stream.batch(next(numbers)), batches) / 1e3
    title = f"{name}, {what}"
    return [
        Figure(
            f"loader: {title}", _BATCH / seconds, "frames/s", note="one worker's CPU time: read, augmented, in voxels"
        ),
        Figure(f"training step is not faster than: {title}", 2 * seconds, "s", note="8 + 8 frames, by one worker"),
    ]


def _memory(frames: int, architecture: ArchitectureConfig) -> list[Figure]:
    """Of a run over many frames by two workers: the largest process, and how much it has grown after the first ones."""
    samples = _samples("semantickitti", [town_layout("semantickitti", 4)], architecture, repeat=500)
    stream = _stream(samples, architecture)
    warm, largest, start = 0.0, 0.0, time.perf_counter()
    batches = frames // _BATCH
    for number, _ in enumerate(map_ahead(stream.batch, range(batches), 2), 1):
        if number % 5 == 0 or number == batches:
            largest = max(largest, _largest_process())
            warm = largest if number * _BATCH <= min(_WARM_FRAMES, frames // 2) else warm
    note = f"{frames} frames, two workers, {frames / (time.perf_counter() - start):.0f} frames/s in all"
    return [
        Figure("loader: memory of the largest process", largest, "MB", "< 2000 MB", note),
        Figure("loader: growth of it after the first frames", largest - warm, "MB", "flat", note),
    ]


def _largest_process() -> float:
    """Resident memory in megabytes of this process or of one that it started."""
    own = psutil.Process(os.getpid())
    sizes = []
    for process in (own, *own.children(recursive=True)):
        try:
            sizes.append(process.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            continue
    return max(sizes)


def _step(architecture: ArchitectureConfig) -> Figure:
    """Of the shipped model's size, the batch being ready."""
    stream, taxonomy = town_stream("semantickitti", architecture, 4)
    network = build(len(taxonomy), architecture).train()
    optimizer = torch.optim.Adam(network.parameters(), foreach=True)
    batch = stream.batch(0)

    def step() -> None:
        def compute_loss() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            terms = xmuda_losses(forward(network, batch), batch, None, 1.0)
            return add_terms(terms), terms

        train_step(optimizer, 1e-3, 0, 0, compute_loss)

    return Figure("training step: small network, 4 frames", cpu_milliseconds(step, 3) / 1e3, "s", note="CPU time")
