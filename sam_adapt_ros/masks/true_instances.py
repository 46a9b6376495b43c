"""True instances, where a simulator knows them: the best masks there can be, for evaluation only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints, from_labels


class TrueInstances:
    """The ``instances`` generator: one mask an instance id of the view; area: its pixels. Id 0 is no instance."""

    name = "instances"

    def __init__(self, min_points: int = 1) -> None:
        self._min_points = min_points

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        """Raises MaskError when the view has no instance ids, or of another size than the image."""
        if view.instances is None:
            raise MaskError(
                f"{view.name}: generator 'instances' needs true instance ids (cameras.{view.name}.instances)"
            )
        if view.instances.shape != view.image.shape[:2]:
            raise MaskError(f"{view.name}: instances: {view.image.shape[:2]} expected, got {view.instances.shape}")
        rows, columns = seen.pixels(*view.instances.shape)
        ids = view.instances[rows, columns].astype(np.int64)
        return from_labels(ids, np.bincount(view.instances.ravel()).astype(float), self.name, self._min_points, first=1)
