"""A2D2's layout, written and read back: the frame that comes is the frame that was rendered."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_adapt_ros.datasets import A2D2, Selection
from sam_adapt_ros.geometry import invert, project_all, transform_points
from sam_adapt_ros.pipelines.layouts import a2d2
from sam_adapt_ros.pipelines.layouts.drives import pixels
from sam_adapt_ros.taxonomy import Taxonomy

TEN = Taxonomy.load("a2d2_semantickitti10")
RECORDINGS = ("20180810_142822", "20180807_145028")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a2d2")
    a2d2.write(folder, frames=2, seed=0, recordings=RECORDINGS)
    return folder


def test_splits_and_ids(root: Path) -> None:
    dataset = A2D2([root], Selection("test"), TEN)
    assert dataset.ids == ["20180807_145028/000000000", "20180807_145028/000000001"]
    assert len(A2D2([root])) == 4
    assert len(A2D2.SPLITS["train"]) == 20 and len(a2d2.RECORDINGS) == 21


def test_frame_is_what_was_rendered(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(A2D2([root], Selection("train", allow_missing=True), TEN)))
    drive = a2d2.drive(RECORDINGS[0], seed=0, frames=2)
    r, frame = drive.record(1), dataset[1]
    (view,) = frame.views
    T_camera_lidar = invert(drive.T_base_camera) @ drive.lidar.T_base_lidar
    uv, _, seen = drive.camera.model.project(transform_points(T_camera_lidar, r.sweep.points))
    expected = transform_points(drive.lidar.T_base_lidar, r.sweep.points[seen])
    assert 1500 < len(frame.points) == len(expected)
    assert frame.T_base_lidar is not None
    assert np.abs(transform_points(frame.T_base_lidar, frame.points) - expected).max() < 1e-4
    (projection,) = project_all(frame.points, frame.views)
    assert np.abs(projection.uv - uv[seen]).max() < 0.01
    assert frame.stamp_ns == view.stamp_ns == r.stamp_ns
    assert pytest.approx(drive.camera.model.K) == view.camera.K and view.camera.D == ()
    # The lens was put on and taken off again, which blurs a little.
    error = np.abs(view.image.astype(float) - pixels(r))[20:-20, 20:-20]
    assert np.median(error) <= 2 and error.mean() < 5


def test_labels_are_those_of_the_image_without_distortion(root: Path) -> None:
    """Looked up where they are without the lens, a share of the labels would be another thing's."""
    dataset = A2D2([root], Selection(names=(RECORDINGS[0],)), TEN)
    drive = a2d2.drive(RECORDINGS[0], seed=0, frames=2)
    truth = a2d2.labels(drive.truth(drive.record(0)))
    table = TEN.lookup("a2d2")
    folder = root / "camera_lidar_semantic" / RECORDINGS[0]
    stem = RECORDINGS[0].replace("_", "")
    with np.load(folder / "lidar/cam_front_center" / f"{stem}_lidar_frontcenter_000000000.npz") as cloud:
        rows, columns = np.rint(cloud["row"]).astype(int), np.rint(cloud["col"]).astype(int)
    expected = table[truth[rows, columns]]
    got = dataset[0].ground_truth
    assert (got == expected).mean() > 0.985
    distorted = cv2.imread(str(folder / "label/cam_front_center" / f"{stem}_label_frontcenter_000000000.png"))
    listed = json.loads((root / "camera_lidar_semantic/class_list.json").read_text())
    places = {tuple(bytes.fromhex(color[1:])): place for place, color in enumerate(listed)}
    wrong = table[[places[tuple(color)] for color in distorted[rows, columns, ::-1].tolist()]]
    assert (wrong == expected).mean() < 0.97
    assert {"car", "road", "building", "nature"} <= {TEN.classes[each] for each in np.unique(got) if each != 255}
