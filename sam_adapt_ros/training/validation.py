"""Validation during training: temperatures of the branches, and their IoU, on labelled samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import Fusion, fuse
from sam_adapt_ros.segmentation.logits import compute_logits, labels_of
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.segmentation.temperature_scaling import LogitScales, fit_scales, scale_logits


@dataclass(frozen=True)
class Validation:
    """scales: the factors of the logits by which the fused prediction explains the labels best. miou: mean IoU by
    branch, fused by these scales; ``2d`` over the points that a camera sees (left out where none of these is labelled),
    ``3d`` and ``fused`` over all."""

    scales: LogitScales
    miou: dict[str, float]


def validate(network: SegmentationNetwork, samples: Sequence[Sample], fusion: Fusion) -> Validation:
    """Fits the scales to samples with labelled points and measures the IoU on these; leaves the network in evaluation
    mode."""
    logits = compute_logits(network, samples)
    labels = [sample.labels for sample in samples if sample.labels is not None]
    scales = fit_scales(logits, labels).of(network.classifiers)
    confusion = {branch: Confusion(network.classes) for branch in Branch}
    for frame, truth in zip(logits, labels, strict=True):
        fused = fuse(fusion, scale_logits(frame, scales))
        confusion[Branch.IMAGE].add(truth[frame.seen.numpy()], frame.image.argmax(1).numpy())
        if frame.has_points:
            confusion[Branch.POINTS].add(truth, frame.points.argmax(1).numpy())
        confusion[Branch.FUSED].add(truth, labels_of(fused))
    return Validation(scales, {branch: counts.miou() for branch, counts in confusion.items() if counts.points})
