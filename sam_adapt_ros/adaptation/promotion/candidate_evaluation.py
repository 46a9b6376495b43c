"""Inference on held-out frames: the promotion gate's only input about a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import AugmentationConfig
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import Fusion, fuse
from sam_adapt_ros.segmentation.logits import BranchLogits, compute_logits, labels_of
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork, State, with_state
from sam_adapt_ros.segmentation.temperature_scaling import LogitScales, fit_scales, scale_classifiers, scale_logits
from sam_adapt_ros.training.augmentation import augment

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """A network's predictions of the P points of all held-out frames, one frame after the other.

    labels, probability: (P,) of the fused prediction. image, points: (P,) uint8 of the branches alone; ``image`` is
    255 where no camera sees the point, and either is 255 where the network lacks the branch. augmented: (P,) uint8,
    fused, of the same points in augmented frames.
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


class HeldOutLogits(NamedTuple):
    """A network's float16 logits by held-out frame, as it is and augmented."""

    plain: list[BranchLogits]
    augmented: list[BranchLogits]


class CandidateEvaluator:
    """Evaluates candidates (state dicts of one network) on held-out samples.

    A branch that several candidates share is run once.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
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
        return _fused(self._logits(state), self._fusion, LogitScales())

    def temperature_scaled(self, state: State) -> tuple[State, HeldOutPredictions]:
        """The candidate with its branches weighted against each other, so that together they explain the ensemble's
        labels best, and its predictions. All points count: on the selected points alone, every branch is right.
        """
        logits = self._logits(state)
        classifiers = self._network.classifiers
        scales = fit_scales(logits.plain, self._ensemble_labels).of(classifiers)
        return scale_classifiers(state, scales, classifiers), _fused(logits, self._fusion, scales)

    def _logits(self, state: State) -> HeldOutLogits:
        """The logits of the state's image branch and of its point branch."""
        image, points = (self._logits_with(state, branch) for branch in NETWORK_BRANCHES)
        return HeldOutLogits(
            *(
                [of_points._replace(image=of_image.image) for of_image, of_points in zip(*frames, strict=True)]
                for frames in zip(image, points, strict=True)
            )
        )

    def _logits_with(self, state: State, branch: Branch) -> HeldOutLogits:
        """The logits of a network with the state's branch."""
        for known, logits in self._known:
            if all(known[name].equal(state[name]) for name in state if Branch.of_tensor(name) is branch):
                return logits
        logits = held_out_logits(with_state(self._network, state), self._samples, self._augmentation, self._token)
        self._known.append((state, logits))
        return logits


def held_out_logits(
    network: SegmentationNetwork,
    samples: Sequence[Sample],
    augmentation: AugmentationConfig,
    token: CancellationToken = NEVER,
) -> HeldOutLogits:
    """Logits of the samples, plain and augmented; every network gets the same augmentations."""
    augmented = (
        augment(sample, augmentation, np.random.default_rng((place, 1))) for place, sample in enumerate(samples)
    )
    return HeldOutLogits(*(compute_logits(network, each, torch.float16, token) for each in (samples, augmented)))


def is_finite(state: Mapping[str, Tensor]) -> bool:
    """Whether no weight is infinite or not a number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values() if tensor.is_floating_point())


def _fused(logits: HeldOutLogits, fusion: Fusion, scales: LogitScales) -> HeldOutPredictions:
    """The predictions by the logits times the scales."""
    parts: list[tuple[NDArray, ...]] = []
    for frames in zip(*logits, strict=True):
        plain = frames[0]
        fused, augmented = (fuse(fusion, scale_logits(frame, scales)) for frame in frames)
        best = fused.max(1)
        by_image = np.full(len(fused), IGNORE, np.uint8)
        by_image[plain.seen.numpy()] = _winners(plain.image)
        entropy = -(fused * fused.clamp_min(1e-12).log()).sum(1) / np.log(fused.shape[1])
        by_points = _winners(plain.points) if plain.has_points else np.full(len(fused), IGNORE, np.uint8)
        labels = labels_of(fused), best.values.numpy(), by_image, by_points, labels_of(augmented), entropy.numpy()
        parts.append(labels)
    if not parts:
        none, no_numbers = np.zeros(0, np.uint8), np.zeros(0, np.float32)
        return HeldOutPredictions(none, no_numbers, none, none, none, no_numbers)
    return HeldOutPredictions(*map(np.concatenate, zip(*parts, strict=True)))


def _winners(scores: Tensor) -> Labels:
    return scores.argmax(1).to(torch.uint8).numpy()
