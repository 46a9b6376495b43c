"""nuScenes' layout, written and read back: the frame that comes is the frame that was rendered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sam_adapt_ros.datasets import NuScenes, Selection
from sam_adapt_ros.geometry import invert, transform_points
from sam_adapt_ros.pipelines.layouts import nuscenes
from sam_adapt_ros.pipelines.layouts.drives import pixels
from sam_adapt_ros.taxonomy import Taxonomy

SIX = Taxonomy.load("nuscenes6")
CLASSES = {
    **{"road": "driveable_surface", "sidewalk": "sidewalk", "terrain": "terrain", "building": "manmade"},
    **{"vegetation": "vegetation", "vehicle": "vehicle", "truck": "vehicle", "pole": "manmade"},
}
SPLITS: dict[str, Sequence[str]] = {
    "usa_train": ("scene-0655", "scene-0757"),
    "usa_test": ("scene-0103",),
    "singapore_train": ("scene-0001", "scene-0061", "scene-1045", "scene-1077", "scene-1094"),
    "singapore_val": ("scene-0004",),
    "singapore_test": ("scene-0916", "scene-1060"),
    "day_train": ("scene-0001", "scene-0004", "scene-0061", "scene-0655", "scene-0757"),
    "day_test": ("scene-0103", "scene-0916"),
    "night_train": ("scene-1077", "scene-1094"),
    "night_val": ("scene-1045",),
    "night_test": ("scene-1060",),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nuscenes")
    nuscenes.write(folder, frames=2, seed=0, scenes=[each for each in nuscenes.SCENES if each.name == "scene-1077"])
    return folder


def test_frame_is_what_was_rendered(root: Path) -> None:
    """The LiDAR's axes are turned, and image and sweep have poses of their own."""
    dataset = NuScenes([root], Selection(), SIX)
    (scene,) = (each for each in nuscenes.SCENES if each.name == "scene-1077")
    assert len(dataset) == 2
    drive = nuscenes.drive(scene, seed=0, frames=2)
    r, frame = drive.record(1), dataset[1]
    (view,) = frame.views
    assert np.array_equal(view.image, pixels(r))
    assert frame.T_base_lidar is not None and frame.T_odom_lidar is not None and dataset[0].T_odom_lidar is not None
    in_vehicle = transform_points(frame.T_base_lidar, frame.points)
    assert np.abs(in_vehicle - transform_points(drive.lidar.T_base_lidar, r.sweep.points)).max() < 1e-4
    T_camera_base = invert(r.T_odom_base_image @ drive.T_base_camera) @ r.T_odom_base
    assert np.abs(view.T_camera_lidar - T_camera_base @ frame.T_base_lidar).max() < 1e-4
    assert np.abs(T_camera_base - invert(drive.T_base_camera)).max() > 0.05  # the vehicle moves meanwhile
    assert view.stamp_ns - frame.stamp_ns == pytest.approx(r.image_stamp_ns - r.stamp_ns, abs=1000)
    kinds = np.array([*drive.kinds, *[""] * (256 - len(drive.kinds))])[drive.kind(r.sweep.class_id, r.sweep.instance)]
    expected = [SIX.classes.index(CLASSES[kind]) if kind in CLASSES else 255 for kind in kinds]
    assert np.array_equal(frame.ground_truth, expected)
    moved = (
        invert(dataset[0].T_odom_lidar @ invert(frame.T_base_lidar)) @ frame.T_odom_lidar @ invert(frame.T_base_lidar)
    )
    assert np.abs(moved - invert(drive.record(0).T_odom_base) @ r.T_odom_base).max() < 1e-4


def test_scenes_are_of_the_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the official parts, the logs' places and the scenes' descriptions."""
    monkeypatch.setattr(nuscenes, "CAMERA_RIG", {**nuscenes.CAMERA_RIG, "width": 16, "height": 9, "focal": 12.0})
    monkeypatch.setattr(nuscenes, "LIDAR_RIG", {**nuscenes.LIDAR_RIG, "beams": 4, "columns": 60})
    nuscenes.write(tmp_path, frames=1, seed=0)
    for split, names in SPLITS.items():
        dataset = NuScenes([tmp_path], Selection(split, allow_missing=True))
        assert sorted(each.split("/")[0] for each in dataset.ids) == sorted(names), split
