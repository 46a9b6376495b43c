"""Training batches: each is a function of its number and the seed, so that training resumes and repeats exactly."""

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


def _whole(index: int, sample: Sample, rng: np.random.Generator) -> Sample:
    return sample


class BatchStream:
    """Shuffled, augmented batches of samples, which are held in memory (0.4 to 1 MB each) or read when they are needed.

    A sample's augmentation depends on the seed and on its place in the stream alone, so that several processes can
    build a part of each batch.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        architecture: ArchitectureConfig,
        augmentation: AugmentationConfig,
        batch_size: int,
        seed: int,
        vary: Vary = _whole,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """part: (number, count): of the equal parts that a batch is divided into, the one that is built here."""
        self.samples = samples
        self.architecture = architecture
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self.vary = vary
        self.part = part

    def batch(self, iteration: int) -> Batch:
        """Batch number ``iteration``, on the CPU; independent of the batches built before."""
        number, count = self.part
        size = self.batch_size // count
        first = iteration * self.batch_size + number * size
        return collate([self._augmented(place) for place in range(first, first + size)], self.architecture)

    def _augmented(self, place: int) -> Sample:
        """The sample at a place in the endless sequence of shuffled epochs."""
        index = self._at(place)
        rng = np.random.default_rng((self.seed, 1, place))
        return augment(self.vary(index, self.samples[index], rng), self.augmentation, rng)

    def _at(self, place: int) -> int:
        """The index of the sample at a place."""
        epoch, within = divmod(place, len(self.samples))
        return int(np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.samples))[within])


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
