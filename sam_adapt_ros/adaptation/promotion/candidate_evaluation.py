"""Inference on held-out frames: all that the promotion gate gets to know of a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import AugmentationConfig
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.fusion import Fusion, fuse
from sam_adapt_ros.segmentation.network import Network, State, with_state
from sam_adapt_ros.segmentation.temperature_scaling import Logits, Scales, fit_scales, scaled
from sam_adapt_ros.training.augmentation import augment

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """A network's predictions of the P points of all held-out frames, one frame after the other.

    labels, probability: (P,) of the fused prediction. image, points: (P,) uint8 of the branches alone; ``image`` is
    255 where no camera sees the point. augmented: (P,) uint8, fused, of the same points in augmented frames.
    entropy: (P,) of the fused prediction, from 0 to 1 (all classes alike).
    """

    labels: Labels
    probability: NDArray[np.float32]
    image: Labels
    points: Labels
    augmented: Labels
    entropy: NDArray[np.float32]

    def histogram(self, classes: int) -> NDArray[np.float64]:
        """(C,) shares of the predicted classes."""
        return np.bincount(self.labels, minlength=classes)[:classes] / max(len(self.labels), 1)

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.probability).all() and np.isfinite(self.entropy).all())


@dataclass(frozen=True, eq=False)
class HeldOutLogits:
    """A network's float16 logits on held-out frames, as they are and augmented.

    seen: by frame, (S,) int64 rows of the points that a camera sees. image: by frame, plain and augmented (S, C).
    points: by frame, plain and augmented (P, C).
    """

    seen: tuple[Tensor, ...]
    image: tuple[tuple[Tensor, Tensor], ...]
    points: tuple[tuple[Tensor, Tensor], ...]


class CandidateEvaluator:
    """Evaluates candidates (state dicts of one network) on held-out samples.

    A branch that several candidates share is run once.
    """

    def __init__(
        self,
        network: Network,
        samples: Sequence[Sample],
        ensemble_labels: Sequence[Labels],
        augmentation: AugmentationConfig,
        fusion: Fusion,
        token: CancellationToken = NEVER,
    ) -> None:
        """ensemble_labels: (P,) by sample, the ensemble's label of every point, 255 = none: what branches are weighted
        by against each other. augmentation: of the second prediction of every frame. token: checked frame by frame."""
        self._network, self._samples, self._ensemble_labels = network, samples, ensemble_labels
        # Every point stays in its place and in its image.
        self._augmentation = augmentation.model_copy(update={"sector": 1.0, "crop_image": 1.0})
        self._fusion, self._token = fusion, token
        self._known: list[tuple[State, HeldOutLogits]] = []

    def predictions(self, state: State) -> HeldOutPredictions:
        """The candidate's predictions."""
        return _fused(self._logits(state, "image."), self._logits(state, "points."), self._fusion, Scales())

    def temperature_scaled(self, state: State) -> tuple[State, HeldOutPredictions]:
        """The candidate with its branches weighted against each other, so that together they explain the ensemble's
        labels best, and its predictions. All points count: among those that are trusted alone, every branch is right.
        """
        image, points = self._logits(state, "image."), self._logits(state, "points.")
        plain = zip((both[0] for both in image.image), (both[0] for both in points.points), points.seen, strict=True)
        scales = fit_scales([Logits(*frame) for frame in plain], self._ensemble_labels)
        return scaled(state, scales), _fused(image, points, self._fusion, scales)

    def _logits(self, state: State, branch: str) -> HeldOutLogits:
        for known, logits in self._known:
            if all(known[name].equal(state[name]) for name in state if name.startswith(branch)):
                return logits
        logits = held_out_logits(with_state(self._network, state), self._samples, self._augmentation, self._token)
        self._known.append((state, logits))
        return logits


@torch.inference_mode()
def held_out_logits(
    network: Network, samples: Sequence[Sample], augmentation: AugmentationConfig, token: CancellationToken = NEVER
) -> HeldOutLogits:
    """Logits of the samples, plain and augmented; every network gets the same augmentations."""
    device = next(network.parameters()).device
    seen, image, points = [], [], []
    for place, sample in enumerate(samples):
        token.check()
        outputs = []
        for each in (sample, augment(sample, augmentation, np.random.default_rng((place, 1)))):
            batch = collate([each], network.architecture).to(device)
            outputs.append(network(batch))
        seen.append(batch.seen.cpu())
        image.append((outputs[0].image.logits.half().cpu(), outputs[1].image.logits.half().cpu()))
        points.append((outputs[0].points.logits.half().cpu(), outputs[1].points.logits.half().cpu()))
    return HeldOutLogits(tuple(seen), tuple(image), tuple(points))


def agreement(first: Labels, second: Labels, classes: int) -> NDArray[np.float64]:
    """(C,) intersection over union of two labellings, where both have a label; NaN for classes in neither."""
    both = (first != IGNORE) & (second != IGNORE)
    confusion = Confusion(classes)
    confusion.add(first[both], second[both])
    return confusion.iou()


def is_finite(state: Mapping[str, Tensor]) -> bool:
    """Whether no weight is infinite or not a number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values() if tensor.is_floating_point())


def _fused(image: HeldOutLogits, points: HeldOutLogits, fusion: Fusion, scales: Scales) -> HeldOutPredictions:
    """Of one network's image branch with another's, or its own, point branch; their logits times the scales."""
    parts: list[tuple[NDArray, ...]] = []
    for seen, image_logits, point_logits in zip(points.seen, image.image, points.points, strict=True):
        fused, augmented = (
            fuse(fusion, of_image.float() * scales.image, of_points.float() * scales.points, seen)
            for of_image, of_points in zip(image_logits, point_logits, strict=True)
        )
        best = fused.max(1)
        by_image = np.full(len(fused), IGNORE, np.uint8)
        by_image[seen.numpy()] = _winners(image_logits[0])
        entropy = -(fused * fused.clamp_min(1e-12).log()).sum(1) / np.log(fused.shape[1])
        labels = best.indices.to(torch.uint8).numpy()
        predicted_points, predicted_augmented = _winners(point_logits[0]), _winners(augmented)
        parts.append((labels, best.values.numpy(), by_image, predicted_points, predicted_augmented, entropy.numpy()))
    if not parts:
        none, no_numbers = np.zeros(0, np.uint8), np.zeros(0, np.float32)
        return HeldOutPredictions(none, no_numbers, none, none, none, no_numbers)
    return HeldOutPredictions(*map(np.concatenate, zip(*parts, strict=True)))


def _winners(scores: Tensor) -> Labels:
    return scores.argmax(1).to(torch.uint8).numpy()
