"""Validation during training: temperatures of the branches, and their IoU, on labelled samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import Fusion, fuse
from sam_adapt_ros.segmentation.logits import BranchLogits, compute_logits, labels_of
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.segmentation.temperature_scaling import LogitScales, fit_scales, scale_logits
from sam_adapt_ros.training.loader import map_ahead
from sam_adapt_ros.training.ranks import ONE_PROCESS, Ranks

SCALE_FRAMES = 64
"""Frames that the temperatures are fitted to: their logits are in memory at once."""
_Labelled = tuple[BranchLogits, NDArray[np.uint8]]


@dataclass(frozen=True)
class Validation:
    """scales: the factors of the logits by which the fused prediction explains the labels best. miou: mean IoU by
    branch, fused by these scales; ``2d`` over the points that a camera sees (left out where none of these is labelled),
    ``3d`` and ``fused`` over all."""

    scales: LogitScales
    miou: dict[str, float]


def validate(
    network: SegmentationNetwork,
    samples: Sequence[Sample],
    fusion: Fusion,
    ranks: Ranks = ONE_PROCESS,
    workers: int = 0,
    scaled: bool = True,
) -> Validation:
    """Fits the scales to up to ``SCALE_FRAMES`` samples with labelled points, evenly spaced, and measures the IoU on
    all; leaves the network in evaluation mode.

    Args:
        ranks: the processes that have a part of the samples each; all of them get the result.
        workers: processes that read the samples ahead.
        scaled: if not, the scales are 1.
    """
    known: dict[int, _Labelled] = {}
    scales = LogitScales()
    if scaled:
        chosen = np.unique(np.linspace(0, len(samples) - 1, min(SCALE_FRAMES, len(samples))).round().astype(int))
        known = dict(_labelled_logits(network, samples, chosen[ranks.rank :: ranks.size].tolist(), workers))
        everywhere = {place: each for part in ranks.gather(known) for place, each in part.items()}
        in_order = [everywhere[place] for place in sorted(everywhere)]
        scales = fit_scales([logits for logits, _ in in_order], [labels for _, labels in in_order])
        scales = scales.of(network.classifiers)
    confusion = measure(network, samples, fusion, scales, ranks, workers, known)
    return Validation(scales, {branch: counts.miou() for branch, counts in confusion.items() if counts.points})


def measure(
    network: SegmentationNetwork,
    samples: Sequence[Sample],
    fusion: Fusion,
    scales: LogitScales = LogitScales(),
    ranks: Ranks = ONE_PROCESS,
    workers: int = 0,
    known: Mapping[int, _Labelled] = MappingProxyType({}),
) -> dict[Branch, Confusion]:
    """Confusion by branch over all labelled points of all processes; ``Branch.IMAGE`` over those that a camera sees.

    Args:
        scales: factors of the logits before they are fused.
        known: logits and labels of samples, by their numbers, that are not computed again.
    Others as for ``validate``.
    """
    confusion = {branch: Confusion(network.classes) for branch in Branch}
    own = range(ranks.rank, len(samples), ranks.size)
    computed = _labelled_logits(network, samples, [place for place in own if place not in known], workers)
    for _, (frame, truth) in chain(known.items(), computed):
        fused = fuse(fusion, scale_logits(frame, scales))
        confusion[Branch.IMAGE].add(truth[frame.seen.numpy()], frame.image.argmax(1).numpy())
        if frame.has_points:
            confusion[Branch.POINTS].add(truth, frame.points.argmax(1).numpy())
        confusion[Branch.FUSED].add(truth, labels_of(fused))
    for counts in confusion.values():
        counts.counts = ranks.sum(counts.counts)
    return confusion


def _labelled_logits(
    network: SegmentationNetwork, samples: Sequence[Sample], places: Sequence[int], workers: int
) -> Iterator[tuple[int, _Labelled]]:
    """The logits and labels of those samples that have labels, one at a time."""
    for place, sample in zip(places, map_ahead(samples.__getitem__, places, workers), strict=True):
        if sample.labels is not None:
            yield place, (compute_logits(network, [sample])[0], sample.labels)
