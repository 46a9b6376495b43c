"""Speed of the network, and mean IoU of the bundled model on drives that it was not trained on."""

from __future__ import annotations

import statistics
import time

import numpy as np

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import load_architecture
from sam_adapt_ros.evaluation.segmentation_metrics import evaluate
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.simulation.drive import frames
from sam_adapt_ros.taxonomy import Taxonomy

DOMAINS = ("day", "night", "other_lidar", "new_city", "rain", "night+other_lidar", "new_city+rain")
TEST_SEEDS = (100, 101, 102)


def run(quick: bool = False) -> list[Figure]:
    """quick: one seed and 3 frames a domain, which is too few for a meaningful mean IoU."""
    return [*_speed(quick), *_quality(quick)]


def _speed(quick: bool) -> list[Figure]:
    frame = synthetic_frame()
    figures = []
    for preset in ("small",) if quick else ("small", "paper"):
        segmenter = Segmenter(Network(8, load_architecture(preset)), Taxonomy.load("town"))
        for _ in range(2):
            segmenter(frame)
        runs = [segmenter(frame).timings for _ in range(3 if quick or preset == "paper" else 15)]
        times = {stage: statistics.median(timings[stage] for timings in runs) for stage in runs[0]}
        note = (
            f"{segmenter.device}, one {frame.views[0].image.shape[1]} px image, {len(frame.points)} points; "
            + ", ".join(f"{stage} {1e3 * seconds:.0f} ms" for stage, seconds in times.items())
        )
        target = "<= 150 ms" if preset == "small" else ""
        figures.append(Figure(f"segmenter, {preset}", 1e3 * sum(times.values()), "ms", target, note))
    return figures


def _quality(quick: bool) -> list[Figure]:
    start = time.perf_counter()
    segmenter = Segmenter.load("town_small")
    figures = [Figure("segmenter, load", 1e3 * (time.perf_counter() - start), "ms", note="bundled model")]
    seeds, count = (TEST_SEEDS[:1], 3) if quick else (TEST_SEEDS, 15)
    for domain in DOMAINS:
        results = [evaluate(frames(domain, seed, count, period=1.0), segmenter) for seed in seeds]
        for branch in Branch:
            scores = [result.miou(branch) for result in results]
            target = ">= 0.80" if (domain, branch) == ("day", Branch.FUSED) else ""
            note = f"seeds {', '.join(f'{seed}: {score:.3f}' for seed, score in zip(seeds, scores, strict=True))}"
            figures.append(Figure(f"town, {domain}, {branch}", float(np.mean(scores)), "mIoU", target, note))
    return figures


def synthetic_frame(points: int = 20_000, width: int = 480, height: int = 240) -> Frame:
    """A frame with the point distribution of a street: 32 beams on flat ground between two walls."""
    rng = np.random.default_rng(0)
    azimuth = rng.uniform(-np.pi, np.pi, points)
    elevation = np.radians(np.linspace(-24, 8, 32))[rng.integers(0, 32, points)]
    ground = 1.9 / np.maximum(-np.sin(elevation), 1e-3)
    wall = 8 / np.maximum(np.abs(np.sin(azimuth)), 0.1)
    reach = np.minimum(np.minimum(ground, wall), 75)
    xyz = reach[:, None] * np.stack(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=1
    )
    camera = CameraModel(width, height, np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]]))
    T_camera_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
    view = CameraView("camera", 0, rng.integers(0, 256, (height, width, 3), dtype=np.uint8), camera, T_camera_lidar)
    return Frame(0, "lidar", xyz.astype(np.float32), (view,))
