"""What pseudo-labelling needs of a frame besides its full-size images, computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import ArchitectureConfig, VisibilityConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.projection import project_all
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.geometry.visibility import visible
from sam_adapt_ros.masks.mask_set import SeenPoints
from sam_adapt_ros.segmentation.batch import Sample


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """A frame that is projected and resized, without its full-size images.

    sample: what the network takes. seen: the points that each of the frame's views sees, in the views' order.
    T_odom_sample: (4, 4) float64 from the sample's axes to the odometry frame, where the LiDAR's pose is known.
    count: N, the frame's points; the sample has the P finite ones.
    """

    sample: Sample
    seen: tuple[SeenPoints, ...]
    T_odom_sample: Transform | None
    count: int

    @classmethod
    def of(cls, frame: Frame, architecture: ArchitectureConfig, visibility: VisibilityConfig) -> PreparedFrame:
        """visibility: whether, and how, points that a nearer surface hides from a camera are left out of ``seen``."""
        projections = project_all(frame.points, frame.views)
        sample = Sample.from_frame(frame, architecture, projections)
        seen = tuple(
            SeenPoints.of(frame.points, each, visible(each, view, visibility) if visibility.enabled else None)
            for view, each in zip(frame.views, projections, strict=True)
        )
        return cls(sample, seen, _pose_of_sample(frame), len(frame.points))

    @property
    def points_odom(self) -> NDArray[np.float64] | None:
        """(P, 3) metres, the sample's points in the odometry frame, whose origin may be far; None without a usable
        pose."""
        T = self.T_odom_sample
        if T is None or not np.isfinite(T).all():
            return None
        return self.sample.points @ T[:3, :3].T + T[:3, 3]


def _pose_of_sample(frame: Frame) -> Transform | None:
    """The LiDAR's pose with the axes of ``Sample.points``."""
    if frame.T_odom_lidar is None or frame.T_base_lidar is None:
        return frame.T_odom_lidar
    T = frame.T_odom_lidar.copy()
    T[:3, :3] = T[:3, :3] @ frame.T_base_lidar[:3, :3].T
    return T
