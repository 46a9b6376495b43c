"""A frame in, a class for every LiDAR point out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros import resources
from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.config import ArchitectureConfig, Config, SegmenterConfig
from sam_adapt_ros.errors import ConfigError, WeightsError
from sam_adapt_ros.frame import IGNORE, CameraView, Frame
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate
from sam_adapt_ros.segmentation.fusion import FUSIONS, fuse, probabilities
from sam_adapt_ros.segmentation.network import Network, NetworkOutput
from sam_adapt_ros.segmentation.sparse_convolution import HAS_CUDA
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of a frame's N points, C classes.

    labels: (N,) uint8, 255 where the point is not finite. probability: (N,) float32 of that label, 0 where 255.
    fused, image, points: (N, C) float32 probabilities; rows of ``image`` are 0 where no camera sees the point, rows
        of all three are 0 where the point is not finite.
    seen: (N,) bool, a camera sees the point.
    timings: seconds by stage: ``project`` (and resize), ``voxelize`` (and batch), ``model``, ``fuse``.
    """

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]
    fused: NDArray[np.float32]
    image: NDArray[np.float32]
    points: NDArray[np.float32]
    seen: NDArray[np.bool_]
    timings: dict[str, float]

    def by_branch(self) -> BranchLabels:
        """(N,) uint8 class ids predicted by each branch alone and by their fusion.

        255: the point is not finite or, for ``Branch.IMAGE``, no camera sees it.
        """
        image = np.where(self.seen, self.image.argmax(1), IGNORE).astype(np.uint8)
        points = np.where(self.labels != IGNORE, self.points.argmax(1), IGNORE).astype(np.uint8)
        return {Branch.IMAGE: image, Branch.POINTS: points, Branch.FUSED: self.labels}


class Segmenter:
    """Holds one set of weights for good; safe to call from one thread at a time.

    New weights are a new Segmenter, loaded and warmed up off the inference thread; the swap is one assignment of the
    reference between two frames.
    """

    def __init__(
        self, network: Network, taxonomy: Taxonomy, config: SegmenterConfig | None = None, version: str = ""
    ) -> None:
        config = config or SegmenterConfig()
        self.taxonomy = taxonomy
        self.version = version
        self.device = choose_device(config.device)
        self.precision = _choose_precision(config.precision, self.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.network = network.eval().requires_grad_(False).to(self.device)
        if self.device.type == "cpu":
            # Convolutions are faster so, and nothing else notices.
            self.network.image.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.fusion = FUSIONS[config.fusion]()

    @classmethod
    def load(
        cls,
        weights: str | Path,
        config: SegmenterConfig | None = None,
        taxonomy: Taxonomy | None = None,
        architecture: ArchitectureConfig | None = None,
    ) -> Segmenter:
        """From a weights file: a path, or the name of one that ships with the package.

        taxonomy, architecture: what the file must be for; None: the taxonomy is looked up by the name in the file,
        the architecture is the file's.
        Raises WeightsError that names the file and the field that does not fit.
        """
        try:
            path = resources.find(str(weights), "resource")
        except FileNotFoundError as error:
            raise WeightsError(f"weights: {error}") from None
        loaded = weights_files.load(path, taxonomy, architecture)
        if taxonomy is None:
            taxonomy = Taxonomy.load(loaded.taxonomy)
            if taxonomy.classes != loaded.classes:
                raise WeightsError(f"{path}: classes: {list(taxonomy.classes)} expected, the file has {loaded.classes}")
        return cls(build_network(loaded, str(path)), taxonomy, config, loaded.version)

    def __call__(self, frame: Frame) -> Prediction:
        """Labels every point of a frame; any number of cameras, none included, and zero points are fine."""
        clock = [time.perf_counter()]
        sample = Sample.from_frame(frame, self.network.architecture)
        clock.append(time.perf_counter())
        batch = collate([sample], self.network.architecture)
        clock.append(time.perf_counter())
        with torch.inference_mode():
            output = self.predict(batch)
            _finish(self.device)
            clock.append(time.perf_counter())
            fused, image, points = self._probabilities(output, batch)
        prediction = _to_rows(frame, sample, batch, fused, image, points)
        clock.append(time.perf_counter())
        stages = ("project", "voxelize", "model", "fuse")
        prediction.timings.update(zip(stages, np.diff(clock).tolist(), strict=True))
        return prediction

    def predict(self, batch: Batch) -> NetworkOutput:
        """The branches' outputs, on the segmenter's device."""
        return self.network(batch.to(self.device), self.precision)

    def warm_up(self, points: int = 20_000) -> None:
        """Runs a made-up frame, so that the first real one is not slowed by one-time set-up."""
        from sam_adapt_ros.geometry.camera import CameraModel

        generator = np.random.default_rng(0)
        spread = generator.uniform((-20, -20, -2), (20, 20, 2), (points, 3)).astype(np.float32)
        width, height = self.network.architecture.image_width, self.network.architecture.image_height
        K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float64)
        T_camera_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
        image = np.zeros((height, width, 3), np.uint8)
        view = CameraView("warm_up", 0, image, CameraModel(width, height, K), T_camera_lidar)
        self(Frame(0, "warm_up", spread, (view,)))

    def _probabilities(self, output: NetworkOutput, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        image_logits, point_logits = output.image.logits.float(), output.points.logits.float()
        fused = fuse(self.fusion, image_logits, point_logits, batch.seen.to(self.device))
        return fused.cpu(), probabilities(image_logits).cpu(), probabilities(point_logits).cpu()


def load_segmenter(config: Config) -> tuple[Segmenter, Config]:
    """The segmenter that a configuration asks for, and the configuration with the taxonomy settled.

    Raises WeightsError or TaxonomyError.
    """
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else None
    segmenter = Segmenter.load(config.segmenter.weights, config.segmenter, taxonomy)
    return segmenter, config.model_copy(update={"taxonomy": config.taxonomy or segmenter.taxonomy.name})


def build_network(weights: Weights, source: str) -> Network:
    """The network that the weights are of. Raises WeightsError that names ``source`` and the tensor that differs."""
    try:
        network = Network(len(weights.classes), weights.architecture)
    except ConfigError as error:
        raise WeightsError(f"{source}: {error}") from None
    load_state(network, weights.state, source)
    return network


def load_state(network: Network, state: Mapping[str, Tensor], source: str) -> None:
    """Copies a state dict into a network. Raises WeightsError that names ``source`` and the tensor that differs."""
    own = network.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise WeightsError(f"{source}: {name}: missing")
        if tuple(state[name].shape) != tuple(tensor.shape):
            raise WeightsError(f"{source}: {name}: {tuple(tensor.shape)} expected, got {tuple(state[name].shape)}")
    unknown = sorted(set(state) - set(own))
    if unknown:
        raise WeightsError(f"{source}: {unknown[0]}: not part of the network")
    network.load_state_dict(dict(state))


def choose_device(name: str) -> torch.device:
    """``auto``: CUDA where torch and spconv have it. Raises ConfigError for ``cuda`` where they do not."""
    if name == "cuda" and not HAS_CUDA:
        missing = "torch finds no CUDA device" if not torch.cuda.is_available() else "spconv is the CPU build"
        raise ConfigError(f"device: cuda asked for, but {missing}")
    return torch.device("cuda" if HAS_CUDA and name != "cpu" else "cpu")


def _choose_precision(name: str, device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        return torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(name, torch.float16)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _to_rows(frame: Frame, sample: Sample, batch: Batch, fused: Tensor, image: Tensor, points: Tensor) -> Prediction:
    """From the finite points back to the frame's rows."""
    count, classes = len(frame.points), fused.shape[1]
    seen_rows = sample.rows[batch.seen.numpy()]
    by_row = {name: np.zeros((count, classes), np.float32) for name in ("fused", "image", "points")}
    by_row["fused"][sample.rows] = fused.numpy()
    by_row["points"][sample.rows] = points.numpy()
    by_row["image"][seen_rows] = image.numpy()
    best = fused.max(1)
    labels = np.full(count, IGNORE, np.uint8)
    labels[sample.rows] = best.indices.numpy()
    probability = np.zeros(count, np.float32)
    probability[sample.rows] = best.values.numpy()
    seen = np.zeros(count, bool)
    seen[seen_rows] = True
    return Prediction(labels, probability, seen=seen, timings={}, **by_row)
