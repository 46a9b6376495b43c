"""Training batches: each is a function of its number and the seed, so that training resumes and repeats exactly."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate
from sam_adapt_ros.training.augmentation import augment


class BatchStream:
    """Shuffled, augmented batches of samples that are held in memory (0.4 to 1 MB each)."""

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

    def iterate(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """Batches ``start`` to ``stop - 1``, built ahead by ``workers`` threads; 0: each when it is needed."""
        if not workers:
            yield from map(self.batch, range(start, stop))
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
            ahead: deque[Future[Batch]] = deque()
            try:
                for iteration in range(start, stop):
                    while len(ahead) <= workers and iteration + len(ahead) < stop:
                        ahead.append(pool.submit(self.batch, iteration + len(ahead)))
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _at(self, place: int) -> int:
        """The index of the sample at a place in the endless sequence of shuffled epochs."""
        epoch, within = divmod(place, len(self.samples))
        return int(np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.samples))[within])


def count_classes(samples: Sequence[Sample], classes: int) -> NDArray[np.int64]:
    """(C,) number of labelled points by class over all samples."""
    counts = np.zeros(classes, np.int64)
    for sample in samples:
        if sample.labels is not None:
            counts += np.bincount(sample.labels[sample.labels != IGNORE], minlength=classes)[:classes]
    return counts
