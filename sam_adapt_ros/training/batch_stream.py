"""Training batches: each is a function of its number and the seed, so that training resumes and repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate
from sam_adapt_ros.training.augmentation import augment

Vary = Callable[[int, Sample, np.random.Generator], Sample]
"""What is trained on of a sample this time, given its number."""


class BatchStream:
    """Shuffled, augmented batches of samples, which are held in memory (0.4 to 1 MB each) or read when they are needed.

    samples, architecture, augmentation, batch_size, seed: as given.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        architecture: ArchitectureConfig,
        augmentation: AugmentationConfig,
        batch_size: int,
        seed: int,
    ) -> None:
        self.samples = samples
        self.architecture = architecture
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, iteration: int) -> Batch:
        """Batch number ``iteration``, on the CPU; independent of the batches built before."""
        rng = np.random.default_rng((self.seed, 1, iteration))
        first = iteration * self.batch_size
        picked = [self.samples[self._at(place)] for place in range(first, first + self.batch_size)]
        return collate([augment(sample, self.augmentation, rng) for sample in picked], self.architecture)

    def _at(self, place: int) -> int:
        """The index of the sample at a place in the endless sequence of shuffled epochs."""
        epoch, within = divmod(place, len(self.samples))
        return int(np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.samples))[within])


class DividedBatchStream(BatchStream):
    """Batches of which several processes build a part each: a sample's augmentation depends on the seed and on its own
    place in the stream alone, and so not on who builds the others."""

    def __init__(
        self,
        samples: Sequence[Sample],
        architecture: ArchitectureConfig,
        augmentation: AugmentationConfig,
        batch_size: int,
        seed: int,
        part: tuple[int, int] = (0, 1),
        vary: Vary | None = None,
    ) -> None:
        """part: (number, count): of the equal parts that a batch is divided into, the one that is built here. vary: as
        the samples' data sets want it; None: a sample is trained on as it is."""
        super().__init__(samples, architecture, augmentation, batch_size, seed)
        self.part, self.vary = part, vary

    def batch(self, iteration: int) -> Batch:
        """This part of batch number ``iteration``."""
        number, count = self.part
        size = self.batch_size // count
        first = iteration * self.batch_size + number * size
        return collate([self._augmented(place) for place in range(first, first + size)], self.architecture)

    def _augmented(self, place: int) -> Sample:
        index = self._at(place)
        sample, rng = self.samples[index], np.random.default_rng((self.seed, 1, place))
        return augment(self.vary(index, sample, rng) if self.vary else sample, self.augmentation, rng)


def count_classes(samples: Sequence[Sample], classes: int) -> NDArray[np.int64]:
    """(C,) number of labelled points by class over all samples."""
    counts = np.zeros(classes, np.int64)
    for sample in samples:
        counts += count_labels(sample, classes)
    return counts


def count_labels(sample: Sample, classes: int) -> NDArray[np.int64]:
    """(C,) number of labelled points of a sample by class."""
    labels = sample.labels if sample.labels is not None else np.zeros(0, np.uint8)
    return np.bincount(labels[labels != IGNORE], minlength=classes)[:classes]
