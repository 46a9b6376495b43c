"""Points that fall on a mask only by parallax: the camera sees another object at their pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.masks.mask_set import SeenPoints


def parallax_points(frame: Frame) -> NDArray[np.bool_] | None:
    """(N,) bool: the points that fall on a pixel of another true instance than their own, in some view.

    LiDAR and camera are mounted at different positions and measure at different times, so that the LiDAR has points on
    surfaces that the image does not show, and they fall on the mask of the object in front. Pixels of no instance (0,
    the sky) belong to no mask. Points at an outline that rounding moves to a neighbouring pixel count, since masks
    treat them in the same way. None where the frame lacks true instances of the points or of all views.
    """
    views = [view for view in frame.views if view.instances is not None]
    if frame.instances is None or not views:
        return None
    parallax = np.zeros(len(frame.points), bool)
    for view in views:
        assert view.instances is not None
        seen = SeenPoints.of(frame.points, project(frame.points, view))
        shown = view.instances[seen.pixels(*view.instances.shape)]
        parallax[seen.index] |= (shown != 0) & (shown != frame.instances[seen.index])
    return parallax
