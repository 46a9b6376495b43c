"""Which points only parallax puts on a mask: the camera, from where it sits, shows something else at their pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.masks.mask_set import SeenPoints


def parallax_points(frame: Frame) -> NDArray[np.bool_] | None:
    """(N,) bool: the points that fall on a pixel of another true instance than their own, in some view.

    The LiDAR sits elsewhere than the camera and measures at another time, so it has points on surfaces that the image
    does not show, and a mask of what the image does show takes them in. Pixels of no instance (0, the sky) are no mask.
    Points at an outline, which rounding to a pixel puts on the neighbour, count too: a mask does the same to them.
    None where the frame has no true instances of the points, or none of any view.
    """
    views = [view for view in frame.views if view.instances is not None]
    if frame.instances is None or not views:
        return None
    astray = np.zeros(len(frame.points), bool)
    for view in views:
        assert view.instances is not None
        seen = SeenPoints.of(frame.points, project(frame.points, view))
        shown = view.instances[seen.pixels(*view.instances.shape)]
        astray[seen.index] |= (shown != 0) & (shown != frame.instances[seen.index])
    return astray
