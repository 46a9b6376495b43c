"""One domain of a training run: its batches, and what is learned from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.config import ArchitectureConfig, TrainingConfig
from sam_adapt_ros.segmentation.batch import Batch, Sample
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput
from sam_adapt_ros.training.batch_stream import DividedBatchStream, count_labels
from sam_adapt_ros.training.frame_samples import FrameSamples
from sam_adapt_ros.training.loader import map_ahead
from sam_adapt_ros.training.losses import class_weights, xmuda_losses
from sam_adapt_ros.training.ranks import Ranks

COUNTED = 1000
"""Samples, evenly spaced, that the classes are counted in where samples are read from files."""


class Domain:
    """The source, whose labels are true and whose classes are weighted; or the target, whose labels are pseudo-labels,
    if it has any.

    name: before the loss's terms in the log, "" for the source. stream: its batches. on_disk: whether its samples are
    read each time.
    """

    def __init__(
        self,
        name: str,
        samples: Sequence[Sample],
        architecture: ArchitectureConfig,
        config: TrainingConfig,
        ranks: Ranks,
        weights: Tensor | None,
    ) -> None:
        """weights: (C,) of the classes in the cross entropy; None: all alike."""
        self.name, self.samples = name, samples
        self.on_disk = isinstance(samples, FrameSamples) and not samples.in_memory
        target = bool(name)
        self._lambda_xm = config.lambda_xm_target if target else config.lambda_xm
        self._lambda_ce = config.lambda_pl if target else 1.0
        self._weights, self._ranks = weights, ranks
        vary = samples.vary if isinstance(samples, FrameSamples) else None
        part, seed = (ranks.rank, ranks.size), config.seed + target
        self.stream = DividedBatchStream(
            samples, architecture, config.augmentation, config.batch_size, seed, part, vary
        )

    def losses(self, output: NetworkOutput, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss by name; the mean over the ranks is that of the whole batch."""
        terms = xmuda_losses(output, batch, self._weights, self._lambda_xm, self._lambda_ce, self._ranks)
        return {f"{self.name}{name}": term for name, term in terms.items()}


def weights_of_classes(
    samples: Sequence[Sample], classes: int, ranks: Ranks, workers: int
) -> tuple[Tensor, NDArray[np.int64]]:
    """(C,) xMUDA's weights of the classes, and (C,) the labelled points that they are made of; of all samples, or of
    ``COUNTED`` where these are read from files."""
    places = np.arange(len(samples))
    on_disk = isinstance(samples, FrameSamples) and not samples.in_memory
    if on_disk and len(samples) > COUNTED:
        places = np.linspace(0, len(samples) - 1, COUNTED).round().astype(int)
    counts = np.zeros(classes, np.int64)
    own = places[ranks.rank :: ranks.size].tolist()
    for sample in map_ahead(samples.__getitem__, own, workers if on_disk else 0):
        counts += count_labels(sample, classes)
    counts = ranks.sum(counts)
    return class_weights(counts), counts
