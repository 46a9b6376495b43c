"""Masks: CPU time of the weight-free generators; LiDAR prompts against SAM's automatic grid. One core."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.benchmarks.timing import cpu_milliseconds
from sam_adapt_ros.config import MaskConfig, RegionsConfig, SamConfig, SamLidarConfig
from sam_adapt_ros.datasets.kitti_raw import read_cameras
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry import invert, project
from sam_adapt_ros.masks import SeenPoints, build
from sam_adapt_ros.masks.image_regions import ImageRegions
from sam_adapt_ros.masks.promptable_model import STABILITY_SCORE_OFFSET, Decoded, LogitFrame, PointSampler
from sam_adapt_ros.masks.sam_automatic import AutomaticSam
from sam_adapt_ros.masks.sam_lidar_prompts import LidarPromptedSam
from sam_adapt_ros.masks.sam_model import SamEmbedding, SegmentAnything
from sam_adapt_ros.simulation.drive import Drive


def run(quick: bool = False) -> list[Figure]:
    """quick: fewer repetitions and frames, and fewer prompts for SAM."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        return [*_weight_free(5 if quick else 21), *_prompt_placement(2 if quick else 5), *_decoding(quick)]
    finally:
        torch.set_num_threads(threads)


# Weight-free masks ---------------------------------------------------------------------------------------------------


def _weight_free(repeats: int) -> list[Figure]:
    figures = []
    image = _nuscenes_image()
    if image is not None:
        generator = ImageRegions(RegionsConfig())
        seconds = 1e-3 * cpu_milliseconds(lambda: generator.segment(image), repeats)
        figures.append(
            Figure("masks: regions, 1600x900, three scales", seconds, "s", "<= 0.35 s", "nuScenes CAM_FRONT")
        )
    kitti = _kitti()
    if kitti is not None:
        view, points = kitti
        seen = SeenPoints.of(points, project(points, view))
        note = f"{len(points)} points, ground, two scales, ground split by image regions; {len(seen)} points seen"
        # A new generator for each call, since a generator keeps the segments of the last sweep.
        milliseconds = cpu_milliseconds(lambda: build(MaskConfig(generator="segments"))(view, seen), repeats)
        figures.append(Figure("masks: segments, whole KITTI scan", milliseconds, "ms", "<= 60 ms", note))
    return figures


def _nuscenes_image() -> NDArray[np.uint8] | None:
    folder = real_data()
    if folder is None:
        return None
    (path,) = (folder / "nuscenes_keyframe" / "samples" / "CAM_FRONT").glob("*.jpg")
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)


def _kitti() -> tuple[CameraView, NDArray[np.float32]] | None:
    folder = real_data()
    if folder is None:
        return None
    drive = folder / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_9001_sync"
    (camera,) = read_cameras(drive).values()
    image = cv2.imread(str(drive / "image_02" / "data" / "0000000000.png"), cv2.IMREAD_COLOR_RGB)
    points = np.fromfile(drive / "velodyne_points" / "data" / "0000000000.bin", np.float32).reshape(-1, 4)[:, :3]
    T_base_lidar = np.eye(4)
    T_base_lidar[2, 3] = 1.73
    T_camera_lidar = invert(camera.T_base_camera) @ T_base_lidar
    view = CameraView("image_02", 0, np.asarray(image, np.uint8), camera.model, T_camera_lidar)
    return view, np.ascontiguousarray(points)


# Prompt placement ---------------------------------------------------------------------------------------------------


class _Oracle:
    """A promptable model that returns the true instance under the prompt, at SAM's resolution.

    With it the quality of the masks is the same for all prompts, so that only the placement of the prompts is compared.
    """

    device = torch.device("cpu")

    def embed(self, image: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """The embedding is the image itself, whose pixels are instance ids."""
        return image.astype(np.uint16, copy=False)

    def decode(self, embedding: NDArray[np.uint16], prompts: NDArray[np.float32]) -> Decoded:
        height, width = embedding.shape
        scale = 1024 / max(height, width)
        frame = LogitFrame((1024, 1024), (int(height * scale + 0.5), int(width * scale + 0.5)), (height, width))
        rows = np.minimum((np.arange(256) + 0.5) * 4 / scale, height - 1).astype(np.int64)
        columns = np.minimum((np.arange(256) + 0.5) * 4 / scale, width - 1).astype(np.int64)
        small = embedding[rows[:, None], columns]
        ids = embedding[prompts[:, 1].astype(np.int64), prompts[:, 0].astype(np.int64)]
        on = (small[None] == ids[:, None, None]) & (ids > 0)[:, None, None]
        logits = torch.as_tensor(np.where(on, np.float32(8), np.float32(-8)))
        return Decoded(logits[:, None], torch.ones(len(prompts), 1), frame)


def _prompt_placement(frames: int) -> list[Figure]:
    """Share of points on some mask: 128 LiDAR prompts against a grid of 1,024, same decoder, thresholds and NMS."""
    thresholds = SamConfig()
    covered: dict[str, list[float]] = {"grid": [], "lidar": []}
    for domain in ("day", "night", "other_lidar", "new_city"):
        drive = Drive(domain, 7, 20 * frames)
        for index in range(frames):
            frame = drive.frame(20 * index)
            view = frame.views[0]
            assert view.instances is not None
            seen = SeenPoints.of(frame.points, project(frame.points, view))
            generator = LidarPromptedSam(_Oracle(), thresholds, SamLidarConfig())
            masks = generator.prompt(view.instances, view.instances.shape, seen)
            covered["lidar"].append(float(masks.membership.any(axis=0).mean()))
            covered["grid"].append(float(_grid(view.instances, seen).mean()))
    grid, lidar = np.mean(covered["grid"]), np.mean(covered["lidar"])
    note = "town, four domains; the decoder returns the true instance at 256x256, so mask quality is the same"
    return [
        Figure("masks: points covered, grid of 1,024 prompts", 100 * float(grid), "%", "", note),
        Figure("masks: points covered, 128 LiDAR prompts", 100 * float(lidar), "%", f">= {100 * grid:.2f} %", note),
    ]


def _grid(instances: NDArray[np.uint16], seen: SeenPoints) -> NDArray[np.bool_]:
    """(V,) bool: the points on some mask when SAM's 32 x 32 grid prompts the oracle."""
    height, width = instances.shape
    steps = (np.arange(32) + 0.5) / 32
    prompts = np.stack(np.meshgrid(steps * width, steps * height), axis=-1).reshape(-1, 2).astype(np.float32)
    hit = instances[prompts[:, 1].astype(np.int64), prompts[:, 0].astype(np.int64)]
    _, first = np.unique(hit, return_index=True)
    covered = np.zeros(len(seen), bool)
    for prompt in prompts[first]:
        decoded = _Oracle().decode(instances, prompt[None])
        sampler = PointSampler(decoded.frame, *seen.pixels(height, width), (256, 256), torch.device("cpu"))
        covered |= (sampler(decoded.logits[0]) > 0).numpy()[0]
    return covered


# Cost of decoding ----------------------------------------------------------------------------------------------------


class _Stored(torch.nn.Module):
    """An image encoder that returns an embedding computed before, so that the encoder's time does not count."""

    def __init__(self, features: torch.Tensor, img_size: int) -> None:
        super().__init__()
        self.features, self.img_size = features, img_size

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.features


def _decoding(quick: bool) -> list[Figure]:
    """Time and memory of both generators with the same randomly initialised vit_b, embedding and thresholds.

    The masks of random weights have no meaning (all have the same box, so that suppression keeps one); the points that
    masks reach are measured by ``_prompt_placement``.
    """
    view, seen = street_view()
    side, prompts = (12, 18) if quick else (32, 128)
    config = SamConfig(points_per_side=side)
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval().requires_grad_(False)
    embedding = calibrate_sam(sam, view, config)
    automatic = AutomaticSam(SegmentAnything(sam), config)
    lidar = LidarPromptedSam(SegmentAnything(sam), config, SamLidarConfig(prompts=prompts))
    size = view.image.shape[:2]
    lidar_seconds, lidar_bytes = _measured(lambda: lidar.prompt(embedding, size, seen))
    grid_seconds, grid_bytes = _measured(lambda: automatic(view, seen))
    note = (
        f"vit_b, random weights, {size[1]}x{size[0]}, CPU, shared embedding; {side**2} grid prompts in batches of 64, "
        f"{prompts} LiDAR prompts in batches of 16; the same thresholds"
    )
    if quick:
        note += "; quick: the published grid has 1,024 prompts, sam_lidar 128"
    return [
        Figure("masks: sam, decoder and post-processing", grid_seconds, "s", "", note),
        Figure("masks: sam_lidar, decoder and post-processing", lidar_seconds, "s", "", note),
        Figure("masks: sam / sam_lidar, time", grid_seconds / lidar_seconds, "x", ">= 5 x", note),
        Figure("masks: sam, peak memory", grid_bytes / 2**20, "MiB", "", note),
        Figure("masks: sam_lidar, peak memory", lidar_bytes / 2**20, "MiB", "", note),
        Figure("masks: sam / sam_lidar, peak memory", grid_bytes / lidar_bytes, "x", ">= 3 x", note),
    ]


def street_view() -> tuple[CameraView, SeenPoints]:
    """A frame of the town by day, with its image enlarged to a width of 1600 pixels, as nuScenes has."""
    frame = Drive("day", 7, 6).frame(3)
    view = frame.views[0]
    height, width = view.image.shape[:2]
    large = (1600, round(1600 * height / width))
    image = np.asarray(cv2.resize(view.image, large, interpolation=cv2.INTER_CUBIC), np.uint8)
    view = CameraView(view.name, view.stamp_ns, image, view.camera.scaled(*large), view.T_camera_lidar)
    return view, SeenPoints.of(frame.points, project(frame.points, view))


def calibrate_sam(sam: Sam, view: CameraView, config: SamConfig) -> SamEmbedding:
    """Sets a model of random weights so that its masks pass the thresholds as a trained model's do; returns the image's
    embedding, which from then on is all that its image encoder gives.

    A random decoder gives faint checkerboard patterns. The kernels of its upsampling are averaged, so that masks are
    smooth and their run lengths realistic. Offsets and gains are set so that half of the candidates of a few prompts
    pass the published predicted-IoU threshold, and half the stability threshold.
    """
    embedding = SegmentAnything(sam).embed(view.image)
    sam.image_encoder = _Stored(embedding.features, sam.image_encoder.img_size)
    for layer in (0, 3):
        kernel = sam.mask_decoder.output_upscaling[layer].weight
        kernel.copy_(kernel.mean((2, 3), keepdim=True).expand_as(kernel))
    height, width = view.image.shape[:2]
    probe = np.random.default_rng(0).uniform((0, 0), (width - 1, height - 1), (8, 2)).astype(np.float32)
    decoded = SegmentAnything(sam).decode(embedding, probe)
    sam.mask_decoder.iou_prediction_head.layers[-1].bias += config.pred_iou_thresh - float(decoded.quality.median())
    logits = decoded.frame.visible(decoded.logits.flatten(0, 1)).float()
    middle = float(logits.median())
    gain = 1.0
    while _stability(gain * (logits - middle), STABILITY_SCORE_OFFSET) < config.stability_score_thresh:
        gain *= 1.2
    for network in sam.mask_decoder.output_hypernetworks_mlps:
        network.layers[-1].weight *= gain
        network.layers[-1].bias *= gain
    sam.mask_threshold = gain * middle
    return embedding


def _stability(logits: torch.Tensor, offset: float) -> float:
    """Median of the stability score over masks."""
    return float(((logits > offset).sum((1, 2)) / (logits > -offset).sum((1, 2)).clamp(min=1)).median())


def _measured(function: Callable[[], object]) -> tuple[float, int]:
    """CPU seconds of this thread, and the rise of resident memory to its peak, bytes."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.thread_time()
    try:
        function()
    finally:
        seconds = time.thread_time() - start
        done.set()
        watcher.join()
    return seconds, peak - before
