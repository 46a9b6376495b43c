"""A segmenter whose predictions are the truth with noise: unsure where it errs, and it errs in patches."""

import numpy as np
import torch

from sam_adapt_ros.config import Config
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.segmentation import Prediction
from sam_adapt_ros.taxonomy import Taxonomy


class NoisySegmenter:
    version = "noisy"
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.taxonomy = Taxonomy.load("town")

    def warm_up(self) -> None:
        pass

    def __call__(self, frame: Frame) -> Prediction:
        assert frame.ground_truth is not None
        rng = np.random.default_rng(frame.stamp_ns % 2**32)
        classes = len(self.taxonomy)
        fused = np.full((len(frame.points), classes), 0.01, np.float32)
        sure = rng.random(len(frame.points)).astype(np.float32)
        wrong = (sure < 0.35) | (np.sin(frame.points[:, 0]) * np.sin(frame.points[:, 1]) > 0.8)
        said = np.where(wrong, (frame.ground_truth + 1) % classes, frame.ground_truth)
        fused[np.arange(len(said)), said] += sure + 0.2
        fused /= fused.sum(1, keepdims=True)
        seen = np.zeros(len(said), bool)
        for view in frame.views:
            seen |= project(frame.points, view).valid
        image = np.where(seen[:, None], fused, np.float32(0))
        probability = fused.max(1)
        assert (said != IGNORE).all()
        return Prediction(fused.argmax(1).astype(np.uint8), probability, fused, image, fused, seen, {"model": 0.0})


def load_noisy(config: Config) -> tuple[NoisySegmenter, Config]:
    """Stands in for ``load_segmenter``."""
    return NoisySegmenter(), config.model_copy(update={"taxonomy": "town"})
