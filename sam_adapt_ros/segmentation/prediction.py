"""The segmenter's answer to one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.frame import IGNORE


@dataclass(frozen=True, eq=False)
class Prediction:
    """Classes and probabilities of a frame's N points, C classes.

    labels: (N,) uint8, 255 where the point is not finite. probability: (N,) float32 of that label, 0 where 255.
    fused, image, points: (N, C) float32 probabilities; rows of ``image`` are 0 where no camera sees the point, rows
        of all three are 0 where the point is not finite.
    seen: (N,) bool, a camera sees the point.
    timings: seconds by stage: ``project`` (and resize), ``voxelize`` (and batch), ``model``, ``fuse``.
    """

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]
    fused: NDArray[np.float32]
    image: NDArray[np.float32]
    points: NDArray[np.float32]
    seen: NDArray[np.bool_]
    timings: dict[str, float] = field(default_factory=dict)

    @classmethod
    def scatter(
        cls,
        count: int,
        rows: NDArray[np.int64],
        seen_rows: NDArray[np.int64],
        fused: Tensor,
        image: Tensor,
        points: Tensor,
    ) -> Prediction:
        """The prediction of ``count`` points from the probabilities of those that the network saw.

        rows: (P,) the points that ``fused`` and ``points`` are of. seen_rows: (S,) those that ``image`` is of.
        """

        def to_rows(at: NDArray[np.int64], probabilities: Tensor) -> NDArray[np.float32]:
            result = np.zeros((count, probabilities.shape[1]), np.float32)
            result[at] = probabilities.numpy()
            return result

        best = fused.max(1)
        labels = np.full(count, IGNORE, np.uint8)
        labels[rows] = best.indices.numpy()
        probability = np.zeros(count, np.float32)
        probability[rows] = best.values.numpy()
        seen = np.zeros(count, bool)
        seen[seen_rows] = True
        return cls(labels, probability, to_rows(rows, fused), to_rows(seen_rows, image), to_rows(rows, points), seen)

    def by_branch(self) -> BranchLabels:
        """(N,) uint8 class ids predicted by each branch alone and by their fusion.

        255: the point is not finite or, for ``Branch.IMAGE``, no camera sees it.
        """
        image = np.where(self.seen, self.image.argmax(1), IGNORE).astype(np.uint8)
        points = np.where(self.labels != IGNORE, self.points.argmax(1), IGNORE).astype(np.uint8)
        return {Branch.IMAGE: image, Branch.POINTS: points, Branch.FUSED: self.labels}
