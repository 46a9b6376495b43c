"""A data set with other labels than its own, such as pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.dataset import Dataset
from sam_adapt_ros.frame import Frame


class Labels(Protocol):
    """Where labels are looked up by frame; can be pickled into worker processes."""

    def __call__(self, frame_id: str, points: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """(N,) class ids of a frame of N points, 255 = none, and those of the image branch; None: the same.

        Raises StoreError.
        """
        ...


class Relabelled(Dataset):
    """The frames of a data set with the labels that ``labels`` gives in place of their true ones."""

    name = "relabelled"

    def __init__(self, dataset: Dataset, labels: Labels) -> None:
        self._dataset, self._labels = dataset, labels

    @property
    def ids(self) -> Sequence[str]:
        return self._dataset.ids

    def frame(self, index: int) -> Frame:
        frame = self._dataset[index]
        labels, image_labels = self._labels(self.ids[index], len(frame.points))
        return replace(frame, ground_truth=labels, image_labels=image_labels)
