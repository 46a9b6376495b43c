"""Which LiDAR points a camera cannot see, because a nearer surface covers their pixel.

A LiDAR that sits above a camera looks over what the camera looks at: its points behind a car's roof project onto the
car. Such a point's pixel has nearer points *above and below* it, on the surface that covers it. Nearer points below
alone are no sign of it: every point on a road has them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import VisibilityConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry.projection import Projection

# A surface covers a point when it is nearer by this much: anything less may be the point's own surface.
MARGIN = 0.5  # metres
MARGIN_PER_METRE = 0.05  # of the point's depth, where that is more


def visible(projection: Projection, view: CameraView, config: VisibilityConfig) -> NDArray[np.bool_]:
    """(N,) bool: the points that are valid in the projection and that nothing covers.

    The smallest depth of each cell of the image is kept. A point is covered when, within ``window`` cells above it and
    within as many below it (its own row left out), something is nearer by max(MARGIN, MARGIN_PER_METRE * depth).
    The cells are ``cell`` radians wide and high: no narrower than the LiDAR's step in azimuth (0.003 for a 64-beam
    sensor at 10 Hz, 0.006 for a 32-beam one at 20 Hz), or points are seen through the gaps; with wider ones, walls at a
    grazing angle cover themselves. The window has to bridge the gap between two beams likewise. Points near the upper
    or lower edge of what covers them stay visible: the test errs on that side.

    projection: of the points into ``view``.
    """
    index = np.flatnonzero(projection.valid)
    result = np.zeros(len(projection.valid), bool)
    if not len(index):
        return result
    depth = projection.depth[index].astype(np.float64)
    camera = view.camera
    column = _cells(projection.uv[index, 0], config.cell * float(camera.K[0, 0]))
    row = _cells(projection.uv[index, 1], config.cell * float(camera.K[1, 1])) + config.window
    nearest = np.full((int(row.max()) + 1 + config.window, int(column.max()) + 1), np.inf)
    np.minimum.at(nearest, (row, column), depth)
    limit = depth - np.maximum(MARGIN, MARGIN_PER_METRE * depth)
    above = np.full(len(index), np.inf)
    below = np.full(len(index), np.inf)
    for step in range(1, config.window + 1):
        np.minimum(above, nearest[row - step, column], out=above)
        np.minimum(below, nearest[row + step, column], out=below)
    result[index] = (above >= limit) | (below >= limit)
    return result


def _cells(pixels: NDArray[np.float32], size: float) -> NDArray[np.intp]:
    """Cell numbers, from 0 on."""
    return np.maximum(np.floor((pixels.astype(np.float64) + 0.5) / size), 0).astype(np.intp)
