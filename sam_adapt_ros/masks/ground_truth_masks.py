"""Ground-truth instances of a simulator as masks: the upper bound for mask generators, for evaluation only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints, from_labels


class TrueInstances:
    """The ``instances`` generator: one mask per instance id of the view, with its number of pixels as area.

    Id 0 means no instance.
    """

    name = "instances"

    def __init__(self, min_points: int = 1) -> None:
        self._min_points = min_points

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        """Raises MaskError when the view has no instance ids, or when their size is not the image's."""
        if view.instances is None:
            raise MaskError(
                f"{view.name}: masks.generator 'instances' needs an image of instance ids, which only the simulator "
                f"gives; set cameras.{view.name}.instances to its topic, or use another generator"
            )
        if view.instances.shape != view.image.shape[:2]:
            raise MaskError(
                f"{view.name}: instance ids of {view.image.shape[:2]} pixels expected, as the image has, "
                f"got {view.instances.shape}; check cameras.{view.name}.instances"
            )
        rows, columns = seen.pixels(*view.instances.shape)
        ids = view.instances[rows, columns].astype(np.int64)
        return from_labels(ids, np.bincount(view.instances.ravel()).astype(float), self.name, self._min_points, first=1)
