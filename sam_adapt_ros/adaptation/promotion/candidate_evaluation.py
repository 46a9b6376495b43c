"""How a network behaves on held-out frames: all that the gate gets to know of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.config import AugmentationConfig
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.fusion import Fusion, fuse
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.temperature_scaling import Logits, Scales, fit_scales
from sam_adapt_ros.training.augmentation import augment


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What a network says of the P points of all held-out frames, one after the other.

    labels, probability: (P,) of the fused prediction. image, points: (P,) uint8 of the branches alone; ``image`` is
    255 where no camera sees the point. augmented: (P,) uint8, fused, of the same points in augmented frames.
    entropy: (P,) of the fused prediction, from 0 to 1 (all classes alike).
    """

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]
    image: NDArray[np.uint8]
    points: NDArray[np.uint8]
    augmented: NDArray[np.uint8]
    entropy: NDArray[np.float32]

    def histogram(self, classes: int) -> NDArray[np.float64]:
        """(C,) shares of the predicted classes."""
        return np.bincount(self.labels, minlength=classes)[:classes] / max(len(self.labels), 1)

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.probability).all() and np.isfinite(self.entropy).all())


@dataclass(frozen=True, eq=False)
class Opinions:
    """A network's float16 logits on held-out frames, as they are and augmented; a branch's part is used as one.

    seen: by frame, (S,) int64 rows of the points that a camera sees. image: by frame, plain and augmented (S, C).
    points: by frame, plain and augmented (P, C).
    """

    seen: tuple[Tensor, ...]
    image: tuple[tuple[Tensor, Tensor], ...]
    points: tuple[tuple[Tensor, Tensor], ...]


@torch.inference_mode()
def listen(
    network: Network,
    samples: Sequence[Sample],
    augmentation: AugmentationConfig,
    pause: Callable[[], None] = lambda: None,
) -> Opinions:
    """What a network says of the samples; every network gets the same augmentations. pause: called frame by frame."""
    # Every point stays in its place and in its image.
    augmentation = augmentation.model_copy(update={"sector": 1.0, "crop_image": 1.0})
    device = next(network.parameters()).device
    network.eval()
    seen, image, points = [], [], []
    for place, sample in enumerate(samples):
        pause()
        outputs = []
        for each in (sample, augment(sample, augmentation, np.random.default_rng((place, 1)))):
            batch = collate([each], network.architecture).to(device)
            outputs.append(network(batch))
        seen.append(batch.seen.cpu())
        image.append((outputs[0].image.logits.half().cpu(), outputs[1].image.logits.half().cpu()))
        points.append((outputs[0].points.logits.half().cpu(), outputs[1].points.logits.half().cpu()))
    return Opinions(tuple(seen), tuple(image), tuple(points))


def behave(image: Opinions, points: Opinions, fusion: Fusion, scales: Scales = Scales()) -> Behaviour:
    """The behaviour of one network's image branch with another's, or its own, point branch; logits times scales."""
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
        parts.append(
            (
                labels,
                best.values.numpy(),
                by_image,
                _winners(point_logits[0]),
                _winners(augmented),
                entropy.numpy(),
            )
        )
    if not parts:
        bytes_, floats = np.zeros(0, np.uint8), np.zeros(0, np.float32)
        return Behaviour(bytes_, floats, bytes_, bytes_, bytes_, floats)
    return Behaviour(*map(np.concatenate, zip(*parts, strict=True)))


def weigh(image: Opinions, points: Opinions, labels: Sequence[NDArray[np.uint8]]) -> Scales:
    """The scales by which these branches together explain the labels, (P,) by frame, best."""
    plain = zip((both[0] for both in image.image), (both[0] for both in points.points), points.seen, strict=True)
    return fit_scales([Logits(*frame) for frame in plain], labels)


def agreement(first: NDArray[np.uint8], second: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """(C,) intersection over union of two labellings, where both have a label; NaN for classes in neither."""
    both = (first != IGNORE) & (second != IGNORE)
    confusion = Confusion(classes)
    confusion.add(first[both], second[both])
    return confusion.iou()


def is_finite(state: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values() if tensor.is_floating_point())


def with_state(network: Network, state: Mapping[str, Tensor]) -> Network:
    """A copy of the network with other weights."""
    other = copy.deepcopy(network)
    other.load_state_dict(dict(state))
    return other.eval().requires_grad_(False)


def _winners(scores: Tensor) -> NDArray[np.uint8]:
    return scores.argmax(1).to(torch.uint8).numpy()
