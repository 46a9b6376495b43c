"""Virtual KITTI's layout, written and read back: the frame that comes is the frame that was rendered."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sam_adapt_ros.datasets import Selection, VirtualKitti
from sam_adapt_ros.geometry import project_all, transform_points
from sam_adapt_ros.geometry.transforms import T_BODY_OPTICAL
from sam_adapt_ros.pipelines.layouts import virtual_kitti
from sam_adapt_ros.pipelines.layouts.drives import pixels
from sam_adapt_ros.taxonomy import Taxonomy

SIX = Taxonomy.load("vkitti_semantickitti6")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vkitti")
    virtual_kitti.write(folder, frames=2, seed=0, scenes=("0002",))
    return folder


def test_splits_and_ids(root: Path) -> None:
    dataset = VirtualKitti([root], Selection("mini"))
    assert len(dataset) == 12 and dataset.ids[:3] == ["0002_clone/00000", "0002_clone/00001", "0002_fog/00000"]
    assert VirtualKitti([root], Selection(names=("*_rain",))).ids == ["0002_rain/00000", "0002_rain/00001"]
    assert len(VirtualKitti.SPLITS["train"]) == 30


def test_frame_is_what_was_rendered(root: Path) -> None:
    frame = VirtualKitti([root], Selection(names=("0002_clone",)), SIX)[1]
    drive = virtual_kitti.drive("0002", "clone", seed=0, frames=2)
    r = drive.record(1)
    truth = drive.truth(r)
    (view,) = frame.views
    assert np.array_equal(view.image, pixels(r))
    assert np.abs(view.camera.K - drive.camera.model.K).max() < 1e-6
    (projection,) = project_all(frame.points, frame.views)
    uv = np.rint(projection.uv).astype(int)
    assert np.abs(projection.uv - uv).max() < 0.02  # pixels' centres
    u, v = uv.T
    assert np.abs(frame.points[:, 0] - truth.depth[v, u]).max() <= 0.0051  # centimetres
    names = np.array([*drive.kinds, *[""] * (256 - len(drive.kinds))])[truth.kind[v, u]]
    expected = {
        **{"road": "road", "sidewalk": "vegetation_terrain", "terrain": "vegetation_terrain", "building": "building"},
        **{"vegetation": "vegetation_terrain", "vehicle": "car", "truck": "truck", "pole": "object"},
    }
    for kind in np.unique(names):
        classes = np.unique(frame.ground_truth[names == kind]).tolist()
        assert classes == [SIX.classes.index(expected[kind]) if kind in expected else 255], kind
    assert len(frame.points) == np.count_nonzero(np.linalg.norm(frame.points, axis=1) < 100) > 20_000


def test_points_of_depth_are_those_of_the_point_files(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "bare", ignore=shutil.ignore_patterns("vkitti3d_npy"))
    for name in ("0002_clone", "0002_sunset"):
        given = VirtualKitti([root], Selection(names=(name,)), SIX)[0]
        made = VirtualKitti([tmp_path / "bare"], Selection(names=(name,)), SIX)[0]
        assert np.abs(given.points - made.points).max() < 1e-4
        assert np.array_equal(given.ground_truth, made.ground_truth)


def test_weathers_show_one_world(root: Path) -> None:
    dataset = VirtualKitti([root], Selection("mini"), SIX)
    clone, *others = (dataset[place] for place in range(0, 12, 2))
    for frame in others:
        assert np.array_equal(frame.points, clone.points) and np.array_equal(frame.ground_truth, clone.ground_truth)
        difference = np.abs(frame.views[0].image.astype(float) - clone.views[0].image).mean()
        assert difference > 3


def test_poses_are_the_vehicles(root: Path) -> None:
    first, second = VirtualKitti([root], Selection(names=("0002_clone",)))
    drive = virtual_kitti.drive("0002", "clone", seed=0, frames=2)
    T = [drive.record(index).T_odom_base @ drive.T_base_camera for index in (0, 1)]
    moved = np.linalg.inv(T[0]) @ T[1]  # of the camera
    assert first.T_odom_lidar is not None and second.T_odom_lidar is not None
    got = np.linalg.inv(first.T_odom_lidar) @ second.T_odom_lidar
    assert np.abs(got - T_BODY_OPTICAL @ moved @ T_BODY_OPTICAL.T).max() < 1e-4
    ahead = transform_points(got, np.zeros((1, 3), np.float32))[0]
    assert ahead[0] > 2 and abs(ahead[1]) < 1
