"""Weights for the segmenter's tests: a source, variations of it, bad ones; and a segmenter slot that is kept at a store
without a node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from node_support import (
    HEIGHT,
    START_NS,
    T_BASE_CAMERA,
    T_BASE_LIDAR,
    WIDTH,
    camera_model,
    make_config,
    random_points,
    save_weights,
)

from sam_adapt_ros.adaptation import Record, Version, WeightStore
from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry import invert
from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot
from sam_adapt_ros.nodes.segmenter.weights_manager import WeightsManager
from sam_adapt_ros.segmentation import Prediction, Segmenter
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.weights import Weights

POINTS = random_points(500)
IMAGE = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
VIEW = CameraView("front", START_NS, IMAGE[..., ::-1].copy(), camera_model(), invert(T_BASE_CAMERA) @ T_BASE_LIDAR)
FRAME = Frame(START_NS, "lidar", POINTS, (VIEW,))


def save_source(path: Path) -> Path:
    """Random weights, but with heads that predict different classes for different points, instead of one for all."""
    save_weights(path)
    weights = weights_files.load(path)
    prediction = Segmenter.load(path)(FRAME)
    state = dict(weights.state)
    for branch, found in (("image", prediction.image[prediction.seen]), ("points", prediction.points)):
        scores = torch.from_numpy(np.log(found))
        scale = 2 / scores.std(0).mean()
        name = f"{branch}.heads.classify"
        state[f"{name}.weight"] = state[f"{name}.weight"] * scale
        state[f"{name}.bias"] = (state[f"{name}.bias"] - scores.mean(0)) * scale
    weights_files.save(path, replace(weights, state=state))
    return path


def varied(source: Path, seed: int) -> Weights:
    """About one label in twenty differs from the source's."""
    weights = weights_files.load(source)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: tensor + 0.05 * tensor.std() * torch.randn(tensor.shape, generator=generator)
        if name.endswith("classify.weight")
        else tensor
        for name, tensor in weights.state.items()
    }
    return replace(weights, state=state)


def collapsed(source: Path, label: int = 2) -> Weights:
    """One class everywhere."""
    weights = weights_files.load(source)
    state = {name: tensor.clone() for name, tensor in weights.state.items()}
    for branch in ("image", "points"):
        state[f"{branch}.heads.classify.bias"][label] += 1000
    return replace(weights, state=state)


def labels_of(path: Path) -> np.ndarray:
    return Segmenter.load(path)(FRAME).labels


def promote(store: WeightStore, weights: Weights) -> Version:
    return store.promote(store.add(weights, Record()))


class ManagedSlot:
    """A segmenter slot that is kept at a store, without a node: frames are labelled one by one."""

    def __init__(self, source: Path, folder: Path, **values: object) -> None:
        config = make_config(source, Path(), (), **{"adaptation.store.folder": str(folder), **values})
        self.slot = SegmenterSlot(config)
        self.manager = WeightsManager(config, self.slot)
        self.manager.start()
        self.stamp_ns = 10_000_000_000

    def label(self, frames: int = 1, after_s: float = 0.1) -> list[str]:
        """Names of the versions that labelled the frames. after_s: between their stamps."""
        names = []
        for _ in range(frames):
            segmenter = self.slot.take()
            names.append(self.slot.name)
            self.stamp_ns += round(after_s * 1e9)
            outcome: Prediction | NetworkError
            try:
                outcome = segmenter(FRAME)
            except NetworkError as error:
                outcome = error
            self.manager.observe(outcome, self.stamp_ns)
        return names

    def settle(self, poll: bool = True) -> None:
        """Until the background thread has nothing left to do."""
        if poll:
            self.manager.poll()
        for _ in range(3):  # jobs may submit others
            self.slot.submit(lambda: None).result(60.0)
