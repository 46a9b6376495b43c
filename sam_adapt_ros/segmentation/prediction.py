"""The segmenter's answer to one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.segmentation.logits import labels_of

NO_INTENSITY = (
    "point cloud: the network was trained with intensity, but the points have no field intensity, reflectivity or "
    "remission of one number: they count as of middling intensity, and labels will be worse. Have the driver publish it"
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Classes and probabilities of a frame's N points, C classes.

    labels: (N,) uint8, 255 where the point is not finite or beyond the network's cube and, without a point branch,
        where no camera sees it. probability: (N,) float32 of that label, 0 where 255.
    fused, image, points: (N, C) float32 probabilities; rows of ``image`` are 0 where no camera sees the point, rows
        of all three are 0 where the label is 255, and all rows of a branch that the network lacks.
    seen: (N,) bool, a camera sees the point.
    timings: seconds by stage: ``project`` (and resize), ``voxelize`` (and batch), ``model``, ``fuse``.
    outside: share of the finite points that are beyond the cube.
    lacks_intensity: the network asks for intensity, and the frame has none.
    """

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]
    fused: NDArray[np.float32]
    image: NDArray[np.float32]
    points: NDArray[np.float32]
    seen: NDArray[np.bool_]
    timings: dict[str, float] = field(default_factory=dict)
    outside: float = 0.0
    lacks_intensity: bool = False

    @classmethod
    def scatter(
        cls,
        count: int,
        rows: NDArray[np.int64],
        seen_rows: NDArray[np.int64],
        fused: Tensor,
        image: Tensor,
        points: Tensor,
        outside: int = 0,
        lacks_intensity: bool = False,
    ) -> Prediction:
        """The prediction of ``count`` points from the probabilities of those that the network saw.

        rows: (P,) the points that ``fused`` and ``points`` are of. seen_rows: (S,) those that ``image`` is of.
        outside: finite points that it did not see.
        """

        def to_rows(at: NDArray[np.int64], probabilities: Tensor) -> NDArray[np.float32]:
            result = np.zeros((count, probabilities.shape[1]), np.float32)
            result[at] = probabilities.numpy()
            return result

        best = fused.max(1)
        labels = np.full(count, IGNORE, np.uint8)
        labels[rows] = labels_of(fused)
        probability = np.zeros(count, np.float32)
        probability[rows] = best.values.numpy()
        seen = np.zeros(count, bool)
        seen[seen_rows] = True
        branches = to_rows(rows, fused), to_rows(seen_rows, image), to_rows(rows, points)
        return cls(labels, probability, *branches, seen, {}, outside / max(outside + len(rows), 1), lacks_intensity)

    def report(self, notices: Notices) -> None:
        """Says, as long as it holds, that most points are where the network does not look, or what the frame lacks."""
        notices.set("no_intensity", NO_INTENSITY if self.lacks_intensity else "")
        if self.outside > 0.5:
            notices.add(
                "points_outside",
                f"point cloud: {self.outside:.0%} of the points are beyond the cube around the sensor that the network "
                "sees (voxel_size times half of voxel_extent): they get no label (255). Metres in the LiDAR's frame "
                "expected, or in one that TF ties to transforms.base_frame",
            )
        else:
            notices.withdraw("points_outside")

    def by_branch(self) -> BranchLabels:
        """(N,) uint8 class ids predicted by each branch alone and by their fusion.

        255: the point has no label or, for ``Branch.IMAGE``, no camera sees it.
        """
        image = np.where(self.seen, self.image.argmax(1), IGNORE).astype(np.uint8)
        known = self.labels != IGNORE if self.points.any() else False
        points = np.where(known, self.points.argmax(1), IGNORE).astype(np.uint8)
        return {Branch.IMAGE: image, Branch.POINTS: points, Branch.FUSED: self.labels}
