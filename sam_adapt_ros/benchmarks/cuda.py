"""What a CUDA GPU takes to label a frame, to train and to make masks, and its memory for it; nothing without one."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from segment_anything import sam_model_registry

from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.benchmarks.masks import calibrate_sam, street_view
from sam_adapt_ros.benchmarks.rate import keyframe
from sam_adapt_ros.benchmarks.segmentation import synthetic_frame
from sam_adapt_ros.benchmarks.training import town_stream
from sam_adapt_ros.config import FabricConfig, SamConfig, SamLidarConfig, SegmenterConfig, load_architecture
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.masks.sam_lidar_prompts import LidarPromptedSam
from sam_adapt_ros.masks.sam_model import SegmentAnything
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.networks import build
from sam_adapt_ros.segmentation.sparse_backend import find_spconv_problem
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.losses import xmuda_losses
from sam_adapt_ros.training.ranks import start_ranks
from sam_adapt_ros.training.train_step import add_terms, train_step

Precision = Literal["float32", "bfloat16", "float16"]


def run(quick: bool = False) -> list[Figure]:
    """quick: fewer repetitions, and vit_b alone of Segment Anything's models."""
    if not torch.cuda.is_available():
        return []
    frame = _frame()
    repetitions = 5 if quick else 30
    figures = []
    for preset in ("small", "paper"):
        for views in sorted({1, len(frame.views)}):
            figures += _labelling(preset, replace(frame, views=frame.views[:views]), repetitions)
    for preset, batch_size in (("small", 4), ("paper", 8)):
        for precision in ("float32", "float16"):
            figures.append(_training(preset, batch_size, precision, 3 if quick else 20))
    for model in ("vit_b",) if quick else ("vit_b", "vit_h"):
        figures += _masks(model, 3 if quick else 10)
    return figures


def _frame() -> Frame:
    """A real nuScenes frame with its six cameras, where there is one."""
    data = real_data()
    if data is None:
        return synthetic_frame()
    with tempfile.TemporaryDirectory() as folder:
        return keyframe(data / "nuscenes_keyframe", Path(folder) / "bag")


def _labelling(preset: str, frame: Frame, repetitions: int) -> list[Figure]:
    """By number format and backend of the sparse convolutions: time, memory, and whether the labels are the CPU's."""
    expected = _segmenter(preset, SegmenterConfig(device="cpu", precision="float32"))(frame).labels
    backends = ("torch",) if find_spconv_problem("cuda") else ("torch", "spconv")
    figures = []
    for precision in ("float32", "bfloat16", "float16"):
        for backend in backends:
            config = SegmenterConfig(device="cuda", precision=precision, sparse_backend=backend)
            segmenter = _segmenter(preset, config)
            segmenter(frame)
            torch.cuda.reset_peak_memory_stats()
            milliseconds, models, labels = [], [], expected
            for _ in range(repetitions):
                start = time.perf_counter()
                prediction = segmenter(frame)
                milliseconds.append(1e3 * (time.perf_counter() - start))
                models.append(1e3 * prediction.timings["model"])
                labels = prediction.labels
            alike = 100 * float(np.mean(labels == expected))
            note = (
                f"of that the model {statistics.median(models):.1f} ms; {_peak():.0f} MiB; {alike:.2f} % of the "
                f"{len(frame.points)} points are labelled as by the CPU in float32"
            )
            cameras = f"{len(frame.views)} camera{'s' * (len(frame.views) > 1)}"
            name = f"labels: {preset}, {cameras}, {precision}, {backend}"
            figures.append(Figure(name, statistics.median(milliseconds), "ms", note=note))
    return figures


def _segmenter(preset: str, config: SegmenterConfig) -> Segmenter:
    """The bundled model, or one of random weights."""
    if preset == "small":
        return Segmenter.load("town_small", config)
    torch.manual_seed(0)
    return Segmenter(build(8, load_architecture(preset)), Taxonomy.load("town"), config)


def _training(preset: str, batch_size: int, precision: Precision, repetitions: int) -> Figure:
    """A step of xMUDA on a batch of the source domain and one of the target domain, which are ready in memory."""
    architecture, device = load_architecture(preset), torch.device("cuda")
    stream, taxonomy = town_stream("nuscenes", architecture, batch_size)
    network = build(len(taxonomy), architecture).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), foreach=True)
    ranks = start_ranks(FabricConfig(devices=1, precision=precision), device)
    forward, stepping = ranks.setup(network, optimizer)
    batches = [stream.batch(number).to(device) for number in (0, 1)]

    def compute_loss(number: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found = xmuda_losses(forward(batches[number]), batches[number], None, 1.0)
        terms = {f"{number}_{name}": term for name, term in found.items()}
        return add_terms(terms), terms

    def step() -> None:
        train_step(stepping, 1e-4, 0, 0, partial(compute_loss, 0), partial(compute_loss, 1), ranks=ranks)

    milliseconds = _milliseconds(step, repetitions)
    height, width = architecture.image_height, architecture.image_width
    note = f"nuScenes as the simulator writes it, images of {width}x{height}; {_peak():.0f} MiB"
    return Figure(
        f"training step: {preset}, {batch_size} + {batch_size} frames, {precision}", milliseconds, "ms", "", note
    )


def _masks(name: str, repetitions: int) -> list[Figure]:
    """Of one image, by Segment Anything with random weights and 128 prompts from the point cloud."""
    torch.manual_seed(0)
    sam = sam_model_registry[name]().eval().requires_grad_(False).to("cuda")
    model = SegmentAnything(sam)
    view, seen = street_view()
    milliseconds = _milliseconds(lambda: model.embed(view.image), repetitions)
    encoder = Figure(f"masks: {name}, image encoder", milliseconds, "ms", "", f"{_peak():.0f} MiB")
    config = SamConfig()
    embedding = calibrate_sam(sam, view, config)
    generator = LidarPromptedSam(model, config, SamLidarConfig())
    milliseconds = _milliseconds(lambda: generator.prompt(embedding, view.image.shape[:2], seen), repetitions)
    note = f"{len(seen)} points; {_peak():.0f} MiB"
    return [encoder, Figure(f"masks: {name}, 128 LiDAR prompts", milliseconds, "ms", "", note)]


def _milliseconds(call: Callable[[], object], repetitions: int) -> float:
    """Median time of a call, after three to warm up."""
    times = []
    for number in range(3 + repetitions):
        if number == 3:
            torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def _peak() -> float:
    """MiB of the GPU that PyTorch has held at once since the last reset."""
    return torch.cuda.max_memory_allocated() / 2**20
