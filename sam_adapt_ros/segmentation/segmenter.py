"""The segmenter: a frame in, a class for every LiDAR point out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config, SegmenterConfig, find_weights
from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.segmentation import networks, sparse_backend
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.device import (
    choose_device,
    choose_precision,
    choose_threads,
    no_free_memory,
    out_of_memory,
)
from sam_adapt_ros.segmentation.fusion import FUSIONS, fuse
from sam_adapt_ros.segmentation.logits import infer
from sam_adapt_ros.segmentation.prediction import Prediction
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.taxonomy import Taxonomy


class Segmenter:
    """One set of weights, ready for inference; safe to call from one thread at a time.

    New weights are a new Segmenter, loaded and warmed up off the inference thread; the swap is one assignment of the
    reference between two frames.
    network: the one with these weights, for whoever learns from it. labelling: the same for labelling, faster.
    notices: what is degraded, in words.
    """

    def __init__(
        self, network: SegmentationNetwork, taxonomy: Taxonomy, config: SegmenterConfig | None = None, version: str = ""
    ) -> None:
        self.config = config or SegmenterConfig()
        self.taxonomy = taxonomy
        self.version = version
        self.device = choose_device(self.config.device, "segmenter.device")
        torch.set_num_threads(choose_threads(self.config.threads))
        self.notices = Notices()
        self.network = network.eval().requires_grad_(False)
        self._with_free_memory(self._place)
        self.fusion = FUSIONS[self.config.fusion]
        self.notices.update(sparse_backend.notices)
        if Branch.POINTS not in network.branches:
            name = network.architecture.network
            text = f"network {name} has no point branch: points that no camera sees get no label (255)"
            self.notices.add("no_point_branch", text)

    @classmethod
    def load(
        cls,
        weights: str | Path,
        config: SegmenterConfig | None = None,
        taxonomy: Taxonomy | None = None,
    ) -> Segmenter:
        """From a weights file: a path, or the name of one that ships with the package.

        taxonomy: what the file must be for; None: the class set that the file names.
        Raises ConfigError when there is no such file or the network cannot be prepared, WeightsError that names the
        file and the field that does not fit, TaxonomyError.
        """
        path = find_weights(str(weights))
        loaded = weights_files.load(path)
        taxonomy = taxonomy or Taxonomy.load(loaded.taxonomy)
        weights_files.check_taxonomy(path, loaded, taxonomy)
        return cls(weights_files.build_network(loaded, str(path)), taxonomy, config, loaded.version)

    def _place(self) -> None:
        """Makes the network ready to compute on ``device``."""
        self.network.to(self.device)
        self.precision = choose_precision(self.config.precision, self.device)
        networks.configure(self.network, self.config, self.device)
        self.labelling = networks.prepare(self.network, self.device)

    def _with_free_memory(self, do: Callable[[], object]) -> None:
        """Does it; where the device has no memory left for it, and was not asked for, once more on the CPU."""
        try:
            do()
            return
        except (RuntimeError, NetworkError) as error:
            if self.device.type == "cpu" or not out_of_memory(error.__cause__ or error):
                raise
        if self.config.device != "auto":
            raise no_free_memory(self.device, "segmenter.device")
        self.notices.add(
            "device_memory",
            f"segmenter.device: {self.device.type} has no free memory for the network, which computes on the CPU, "
            "slower: end what else uses it, and start anew",
        )
        self.device = torch.device("cpu")
        self._place()
        do()

    def __call__(self, frame: Frame) -> Prediction:
        """Labels every point of a frame; any number of cameras, none included, and zero points are fine.

        Raises NetworkError when the network raises, or returns logits of a wrong shape or that are not finite.
        """
        if Branch.IMAGE not in self.network.branches:
            frame = replace(frame, views=())
        clock = [time.perf_counter()]
        sample = Sample.from_frame(frame, self.network.architecture)
        clock.append(time.perf_counter())
        batch = collate([sample], self.network.architecture)
        clock.append(time.perf_counter())
        with torch.inference_mode():
            on_device = batch.to(self.device)
            logits = infer(self.labelling, on_device, self.precision)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            clock.append(time.perf_counter())
            logits.check_finite(self.network)
            fused = fuse(self.fusion, logits).cpu()
            image, points = (each.cpu() for each in logits.probabilities())
        seen_rows = sample.rows[logits.seen.cpu().numpy()]
        found = fused, image, points
        lacks_intensity = "intensity" in self.network.architecture.point_inputs and frame.intensity is None
        prediction = Prediction.scatter(
            len(frame.points), sample.rows, seen_rows, *found, sample.outside, lacks_intensity
        )
        clock.append(time.perf_counter())
        stages = ("project", "voxelize", "model", "fuse")
        prediction.timings.update(zip(stages, np.diff(clock).tolist(), strict=True))
        return prediction

    def warm_up(self, points: int = 20_000) -> None:
        """Labels a frame of random points and a black image, so that the first real one waits for no one-time set-up. A
        GPU that has no memory for it is left for the CPU, where it was not asked for.

        points: as many as sweeps have. Raises ConfigError where it was, NetworkError as a call.
        """
        generator = np.random.default_rng(0)
        spread = generator.uniform((-20, -20, -2), (20, 20, 2), (points, 3)).astype(np.float32)
        width, height = self.network.architecture.image_width, self.network.architecture.image_height
        K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float64)
        T_camera_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
        image = np.zeros((height, width, 3), np.uint8)
        view = CameraView("warm_up", 0, image, CameraModel(width, height, K), T_camera_lidar)
        frame = Frame(0, "warm_up", spread, (view,))
        self._with_free_memory(lambda: self(frame))


def load_segmenter(config: Config) -> tuple[Segmenter, Config]:
    """The segmenter of a configuration, and the configuration with the taxonomy's name filled in.

    Raises ConfigError, WeightsError or TaxonomyError.
    """
    taxonomy = Taxonomy.load(config.taxonomy) if config.taxonomy else None
    segmenter = Segmenter.load(config.segmenter.weights, config.segmenter, taxonomy)
    return segmenter, config.model_copy(update={"taxonomy": config.taxonomy or segmenter.taxonomy.name})
