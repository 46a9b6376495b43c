"""GAPP against direct propagation on a real sweep: annotated boxes of a nuScenes keyframe, seen by its six cameras.

The mask of a box is the convex hull of its points' pixels, so that points behind the box fall on it as well. The seed
labels are a random share of the box's points. The remaining points are scored: a label outside the boxes is wrong, a
point without a label inside them is missed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from sam_adapt_ros.config import EnhancementConfig
from sam_adapt_ros.datasets import NuScenes
from sam_adapt_ros.datasets.recording import LIDAR
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.frame import IGNORE, CameraView
from sam_adapt_ros.geometry import invert, make_transform, project
from sam_adapt_ros.pseudo_labels import enhance

CONFIG = EnhancementConfig(
    min_points=3, min_purity=0.8, min_representativity=0.05, radius_per_metre=0.05, min_radius=0.3, max_radius=2.0
)
"""The settings of the published figures of this frame, independent of the defaults."""
BACKGROUND = 0


@dataclass(frozen=True)
class BoxesView:
    """One camera's view.

    index: (V,) rows of the sweep that it sees. points: (V, 3) metres. truth: (V,) class, 0 outside of all boxes.
    membership: (M, V) and areas: (M,) of the boxes' masks.
    """

    index: NDArray[np.intp]
    points: NDArray[np.float32]
    truth: NDArray[np.uint8]
    membership: NDArray[np.bool_]
    areas: NDArray[np.float64]


@dataclass(frozen=True)
class BoxesFrame:
    """box: (N,) number of the box that a point is in, -1 for none. truth: (N,) uint8 category index of that box."""

    box: NDArray[np.intp]
    truth: NDArray[np.uint8]
    views: tuple[BoxesView, ...]

    def seeds(self, share: float, seed: int) -> NDArray[np.uint8]:
        """(N,) uint8: the true class of a random share (rounded) of each box's points, 255 elsewhere."""
        rng = np.random.default_rng(seed)
        labels = np.full(len(self.box), IGNORE, np.uint8)
        for box in range(self.box.max() + 1):
            members = np.flatnonzero(self.box == box)
            chosen = rng.permutation(members)[: round(share * len(members))]
            labels[chosen] = self.truth[chosen]
        return labels


def read(root: Path) -> BoxesFrame:
    """Reads the keyframe at ``root``, in the layout of nuScenes: points, boxes and geometry."""
    (recording,) = NuScenes([root]).recordings
    calibration, T_map_odom = recording.calibration, recording.T_map_odom
    sweep = next(file for file in recording.files if file.sensor == LIDAR)
    assert T_map_odom is not None and sweep.T_odom_base is not None
    points = np.fromfile(sweep.path, np.float32).reshape(-1, 5)[:, :3].copy()
    T_odom_lidar = sweep.T_odom_base @ calibration.T_base_lidar
    box, truth = _boxes(next(root.glob("v1.0-*")), points, T_map_odom @ T_odom_lidar)
    views = []
    for file in recording.files:
        if file.sensor == LIDAR or file.T_odom_base is None:
            continue
        camera = calibration.cameras[file.sensor]
        T_camera_lidar = invert(file.T_odom_base @ camera.T_base_camera) @ T_odom_lidar
        view = CameraView(file.sensor, file.stamp_ns, np.zeros((0, 0, 3), np.uint8), camera.model, T_camera_lidar)
        views.append(_view(points, box, truth, view))
    return BoxesFrame(box, truth, tuple(views))


def measure(frame: BoxesFrame, config: EnhancementConfig, share: float = 0.3, seed: int = 0) -> LabelStatistics:
    """Statistics of the labels of the points that were not seeds, over all cameras."""
    labels = frame.seeds(share, seed)
    statistics = LabelStatistics(int(frame.truth.max()) + 1)
    for view in frame.views:
        result = enhance(view.points, labels[view.index], view.membership, view.areas, config)
        statistics.add(result.labels, view.truth, among=labels[view.index] == IGNORE)
    return statistics


def precision_and_recall(statistics: LabelStatistics) -> tuple[float, float]:
    """Correctly labelled points as a share of the labelled points, and of the points in boxes."""
    confusion = statistics.confusion
    right = np.diagonal(confusion.matrix)[BACKGROUND + 1 :].sum()
    return float(right / max(1, confusion.matrix.sum())), float(right / confusion.counts[BACKGROUND + 1 :].sum())


def _boxes(folder: Path, points: NDArray[np.float32], T_map_lidar: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Box number and category index of every point; a point in several boxes belongs to the smallest."""
    category = {row["token"]: row["index"] for row in json.loads((folder / "category.json").read_text())}
    instance = {
        row["token"]: category[row["category_token"]] for row in json.loads((folder / "instance.json").read_text())
    }
    rows = json.loads((folder / "sample_annotation.json").read_text())
    rows.sort(key=lambda row: -np.prod(row["size"]))
    points_map = points @ T_map_lidar[:3, :3].T + T_map_lidar[:3, 3]
    box = np.full(len(points), -1)
    truth = np.full(len(points), BACKGROUND, np.uint8)
    for number, row in enumerate(rows):
        w, x, y, z = row["rotation"]
        T_box_map = invert(make_transform(row["translation"], (x, y, z, w)))
        local = points_map @ T_box_map[:3, :3].T + T_box_map[:3, 3]
        width, length, height = row["size"]
        inside = (np.abs(local) <= np.array([length, width, height]) / 2).all(1)
        box[inside], truth[inside] = number, instance[row["instance_token"]]
    return box, truth


def _view(points: NDArray[np.float32], box: NDArray, truth: NDArray, view: CameraView) -> BoxesView:
    projection = project(points, view)
    index = np.flatnonzero(projection.valid)
    uv = projection.uv[index].astype(np.float64)
    rows, areas = [], []
    for number in range(box.max() + 1):
        members = uv[box[index] == number]
        if len(members) < 3:
            continue
        try:
            hull = ConvexHull(members)
        except QhullError:  # all in a line
            continue
        rows.append((uv @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-6).all(1))
        areas.append(hull.volume)  # in two dimensions: the area
    membership = np.array(rows, bool).reshape(len(rows), len(index))
    return BoxesView(index, points[index], truth[index], membership, np.array(areas))
