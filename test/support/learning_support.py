"""A world small enough to learn in seconds: ground, walls and boxes along a road, by day and at dusk."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
import yaml
from small_network import TINY

from sam_adapt_ros.adaptation import WeightStore
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.config import AugmentationConfig, Config
from sam_adapt_ros.evaluation.segmentation_metrics import evaluate
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.masks.mask_set import MaskSet
from sam_adapt_ros.pipelines.adaptive_replay import OnlineRun
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.logits import compute_logits
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmentation_network import AnyNetwork
from sam_adapt_ros.segmentation.temperature_scaling import fit_scales, scale_classifiers
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.batch_stream import BatchStream
from sam_adapt_ros.training.losses import xmuda_losses

T_CAMERA_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, 0.2], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
SHAPES = Taxonomy("shapes", ("ground", "wall", "box"), np.zeros((3, 3), np.uint8))
COLORS = np.array([[90, 110, 90], [200, 90, 40], [40, 60, 220]])


class NoMasks:
    name = "none"

    def __call__(self, view, seen, labels=None) -> MaskSet:
        return MaskSet.empty(len(seen))


def make_frame(seed: int = 0, points: int = 800, dusk: bool = False, at: float = 0.0) -> Frame:
    """dusk: everything is darker and bluer. at: metres driven."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, points)
    side = rng.choice([-1.0, 1.0], points)
    xyz = np.stack([rng.uniform(2, 25, points), side * rng.uniform(0, 9, points), np.full(points, -1.8)], 1)
    wall, box = kind == 1, kind == 2
    xyz[wall, 1] = 9 * side[wall]
    xyz[wall, 2] = rng.uniform(-1.5, 3, wall.sum())
    places = rng.uniform((5, -6), (20, 6), (4, 2))
    centre = places[rng.integers(0, 4, box.sum())]
    xyz[box] = np.c_[centre + rng.uniform(-1, 1, (box.sum(), 2)), rng.uniform(-1.5, -0.3, box.sum())]
    width, height = 96, 48
    camera = CameraModel(width, height, np.array([[48.0, 0, width / 2], [0, 48.0, height / 2], [0, 0, 1]]))
    uv, depth, valid = camera.project((xyz @ T_CAMERA_LIDAR[:3, :3].T + T_CAMERA_LIDAR[:3, 3]).astype(np.float32))
    canvas = np.full((height, width, 3), 150, np.float64)
    for row in np.flatnonzero(valid)[np.argsort(-depth[valid])]:  # far to near, as small squares
        u, v = np.round(uv[row]).astype(int)
        canvas[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2] = COLORS[kind[row]]
    if dusk:
        canvas = canvas * (0.12, 0.16, 0.3) + (0, 6, 24)
    image = np.clip(canvas + rng.normal(0, 4, canvas.shape), 0, 255).astype(np.uint8)
    view = CameraView("front", seed, image, camera, T_CAMERA_LIDAR)
    pose = np.eye(4)
    pose[0, 3] = at
    return Frame(seed, "lidar", xyz.astype(np.float32), (view,), kind.astype(np.uint8), pose)


def drive(count: int, seed: int = 100, start: int = 0, **changes) -> list[Frame]:
    """start: how many frames the drive has had before."""
    return [make_frame(seed + place, at=2.5 + 5.0 * (start + place), **changes) for place in range(count)]


def to_samples(frames: list[Frame]) -> list[Sample]:
    return [Sample.from_frame(frame, TINY) for frame in frames]


@functools.cache
def source_network() -> Network:
    """Trained on days; copy it before changing it."""
    torch.manual_seed(0)
    return trained(Network(len(SHAPES), TINY))


def trained(network: AnyNetwork) -> AnyNetwork:
    """On days, in place."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    augmentation = AugmentationConfig(rotation_noise=0.02, translation=0.5, color_jitter=0.1)
    stream = BatchStream(to_samples(drive(12, 0)), TINY, augmentation, 3, 0)
    for step in range(60):
        network.train()
        torch.manual_seed(step)
        batch = stream.batch(step)
        optimizer.zero_grad()
        sum(xmuda_losses(network(batch), batch, None, 0.1).values()).backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    known = to_samples(drive(4, 60))
    scales = fit_scales(compute_logits(network, known), [sample.labels for sample in known])
    state = scale_classifiers(network.state_dict(), scales, network.classifiers)  # as training leaves a network
    network.load_state_dict(state)
    return network


def source_weights() -> Weights:
    created = "2026-01-01T00:00:00+00:00"
    return Weights(source_network().state_dict(), SHAPES.name, SHAPES.classes, TINY, created=created)


def learning_config(**changes) -> Config:
    """Dotted names below ``adaptation``, with what suits this world."""
    values = {
        "buffer.min_distance": 0.5,
        "buffer.split_block": 10.0,
        "buffer.split_gap": 0.5,
        "buffer.held_out": 0.34,
        "buffer.image_format": "png",
        "rounds.min_frames": 6,
        "rounds.min_held_out": 3,
        "rounds.new_frames": 6,
        "rounds.checkpoint_every": 4,
        "self_training.steps": 12,
        "self_training.learning_rate": 2e-3,
        "gate.min_class_points": 50,
        **changes,
    }
    return Config.from_flat({f"adaptation.{name}": value for name, value in values.items()})


def make_adapter(folder: Path, config: Config | None = None, state: Path | None = None) -> Adapter:
    store = WeightStore(folder / "store")
    store.initialize(source_weights())
    return Adapter(config or learning_config(), store, state, NoMasks(), SHAPES)


def segmenter_of(adapter: Adapter) -> Segmenter:
    path = adapter.store.current().path
    return Segmenter(weights_files.build_network(weights_files.load(path), str(path)), SHAPES)


def watch(adapter: Adapter, frames: list[Frame]) -> list[str]:
    segmenter = segmenter_of(adapter)
    return [adapter.observe(frame, segmenter(frame).labels) for frame in frames]


def miou(adapter: Adapter, frames: list[Frame]) -> float:
    return evaluate(frames, segmenter_of(adapter)).miou("fused_seen")


def online_run(folder: Path, **changes: object) -> OnlineRun:
    """changes: as for ``learning_config``."""
    taxonomy = {"name": "shapes", "classes": [{"name": name, "color": [9, 9, 9]} for name in SHAPES.classes]}
    (folder / "shapes.yaml").write_text(yaml.safe_dump(taxonomy))
    weights_files.save(folder / "source.safetensors", source_weights())
    given = {
        "taxonomy": str(folder / "shapes.yaml"),
        "segmenter.weights": str(folder / "source.safetensors"),
        "masks.generator": "regions",
    }
    return OnlineRun(Config.from_flat(learning_config(**changes).to_flat() | given), folder / "store")
