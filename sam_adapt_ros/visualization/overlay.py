"""Labelled points drawn over the image that sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IMAGE_WIDTH_A_RADIUS = 400
"""A point's radius grows by one pixel with every so many pixels of image width."""


def draw_overlay(
    image: NDArray[np.uint8], uv: NDArray[np.float32], depth: NDArray[np.float32], colors: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Draws every point as a small disc, near points over far ones, and returns a new image.

    Args:
        image: (H, W, 3) uint8 RGB.
        uv: (N, 2) pixels, pixel centres at integers; points outside the image are clipped away, disc by disc.
        depth: (N,) metres along the optical axis; the order of drawing.
        colors: (N, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    canvas = image.copy()
    drawable = np.flatnonzero((np.abs(uv) < 1 << 20).all(axis=1))  # comparisons with NaN are false
    far_to_near = drawable[np.argsort(-depth[drawable], kind="stable")]
    centres = np.rint(uv[far_to_near]).astype(np.int32)
    # One row a point: of indices that repeat, NumPy's assignment keeps the last, and so the nearest point's.
    pixels = centres[:, None, :] + _disc(max(1, round(width / IMAGE_WIDTH_A_RADIUS)))[None]
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=2)
    columns, rows = pixels[inside].T
    canvas[rows, columns] = np.broadcast_to(colors[far_to_near][:, None, :], (*pixels.shape[:2], 3))[inside]
    return canvas


def _disc(radius: int) -> NDArray[np.int32]:
    """(K, 2) offsets of the pixels within ``radius``."""
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    within = rows**2 + columns**2 <= radius**2
    return np.stack([columns[within], rows[within]], axis=1).astype(np.int32)
