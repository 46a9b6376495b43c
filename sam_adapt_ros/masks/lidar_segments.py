"""LiDAR segments: clusters of the points above the ground at nested scales, and the ground split by image regions.

The ground is split by Felzenszwalb and Huttenlocher's graph-based segmentation (IJCV 2004), since road, pavement and
grass differ in the image and not in the point cloud.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import SegmentsConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.ground_segmentation import ground_height, is_ground
from sam_adapt_ros.masks.image_regions import at_pixels, partition, shrink, stretched
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints, from_labels
from sam_adapt_ros.masks.point_clustering import cluster

# Graph-based segmentation of the ground's part of the image; less smoothing than the published 0.8, since kerbs and
# lane markings are only one or two pixels wide.
GROUND_WIDTH = 256  # pixels that the image is scaled down to
GROUND_SCALE = 80.0
GROUND_SIGMA = 0.5
GROUND_MIN_SIZE = 15  # pixels of the scaled image


@dataclass(frozen=True, eq=False)
class Segmentation:
    """ground: (N,) bool. clusters: per scale, finest first, (N,) int64 ids; -1 for ground and non-finite points."""

    ground: NDArray[np.bool_]
    clusters: list[NDArray[np.int64]]


class LidarSegments:
    """The ``segments`` generator.

    A cluster's area is that of the convex hull of its points' pixels, so that a cluster that contains another is never
    smaller. A ground mask's area is that of its image region. A cluster that is the same at two scales gives one mask.
    """

    name = "segments"

    def __init__(self, config: SegmentsConfig, min_points: int = 1) -> None:
        self._config = config
        self._min_points = min_points
        self._last: tuple[NDArray[np.int32], Segmentation] | None = None

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        segmentation = self._segment_once(seen.points)
        sets = [self._ground_masks(view.image, seen, segmentation.ground[seen.index])]
        scales = [ids[seen.index] for ids in segmentation.clusters]
        for number, ids in enumerate(scales):
            if number > 0:
                ids = _without_repeats(ids, scales[number - 1])
            sets.append(from_labels(ids, _hull_areas(ids, seen.uv, self._min_points), self.name, self._min_points))
        return MaskSet.concatenate(sets)

    def segment(self, points: NDArray[np.float32]) -> Segmentation:
        """Ground and clusters of a whole sweep, (N, 3) metres with z roughly up; non-finite rows are neither."""
        finite = np.flatnonzero(np.isfinite(points[:, 0]) & np.isfinite(points[:, 1]) & np.isfinite(points[:, 2]))
        kept = points if len(finite) == len(points) else points[finite]
        azimuth, distance = np.arctan2(kept[:, 1], kept[:, 0]), np.hypot(kept[:, 0], kept[:, 1])
        on_ground = is_ground(ground_height(kept, azimuth, distance), distance)
        ground = np.zeros(len(points), bool)
        ground[finite] = on_ground
        standing = np.flatnonzero(~on_ground)
        clusters = []
        for found in cluster(kept[standing], azimuth[standing], distance[standing], self._config):
            ids = np.full(len(points), -1, np.int64)
            ids[finite[standing]] = found
            clusters.append(ids)
        return Segmentation(ground, clusters)

    def _segment_once(self, points: NDArray[np.float32]) -> Segmentation:
        """``segment`` with the last sweep's result kept, since the cameras of a frame share a sweep."""
        bits = np.ascontiguousarray(points).view(np.int32)  # as integers, NaN equals itself
        if self._last is None or not np.array_equal(self._last[0], bits):
            self._last = bits.copy(), self.segment(points)
        return self._last[1]

    def _ground_masks(self, image: NDArray[np.uint8], seen: SeenPoints, ground: NDArray[np.bool_]) -> MaskSet:
        if not ground.any():
            return MaskSet.empty(len(seen))
        height, width = image.shape[:2]
        rows, columns = seen.pixels(height, width)
        # The rows above the highest ground point are left out.
        top = int(rows[ground].min())
        below = image[top:]
        small = stretched(shrink(below, GROUND_WIDTH))
        level = partition(small, GROUND_SCALE, GROUND_SIGMA, GROUND_MIN_SIZE)
        area = np.bincount(level.ravel()) * (below.shape[0] * width / level.size)
        inside = np.maximum(rows - top, 0)
        ids = np.where(ground, at_pixels(level, inside, columns, below.shape[0], width), -1)
        return from_labels(ids, area, self.name, self._min_points)


def _without_repeats(ids: NDArray[np.int64], finer: NDArray[np.int64]) -> NDArray[np.int64]:
    """``ids`` (V,) with -1 for clusters that equal a cluster of the ``finer`` scale, which has given that mask."""
    on = ids >= 0
    same = np.zeros(len(ids), bool)
    same[on] = np.bincount(ids[on])[ids[on]] == np.bincount(finer[on])[finer[on]]
    return np.where(same, -1, ids)


def _hull_areas(ids: NDArray[np.int64], uv: NDArray[np.float32], min_points: int) -> NDArray[np.float64]:
    """Area of the convex hull of the (V, 2) pixels of each id; 0 for ids with fewer than ``min_points`` points.

    The extent of the pixels themselves counts (half the hull's perimeter, plus 1), so that a line of points has an
    area above 0.
    """
    order = np.argsort(ids, kind="stable")
    counts = np.bincount(ids[ids >= 0])
    stops = (len(ids) - counts.sum()) + np.cumsum(counts)
    areas = np.zeros(len(counts))
    for number in np.flatnonzero(counts >= max(min_points, 1)):
        hull = cv2.convexHull(uv[order[stops[number] - counts[number] : stops[number]]])
        areas[number] = cv2.contourArea(hull) + 0.5 * cv2.arcLength(hull, True) + 1
    return areas
