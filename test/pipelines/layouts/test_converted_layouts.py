"""A2D2 and Virtual KITTI as bags: the frames of a bag are those of the data set that it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import A2D2, RecordingDataset, Selection, VirtualKitti, convert
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry import project_all
from sam_adapt_ros.pipelines.layouts import a2d2, virtual_kitti
from sam_adapt_ros.taxonomy import Taxonomy


def converted(dataset: RecordingDataset, bag: Path, taxonomy: str) -> list[Frame]:
    (written,) = convert(dataset, bag)
    with BagReader(written, Config.load(dataset.name, {"taxonomy": taxonomy})) as reader:
        frames = list(reader.frames())
    assert len(frames) == len(dataset) == 2
    return frames


def check_same(frame: Frame, given: Frame) -> None:
    assert np.array_equal(frame.points, given.points, equal_nan=True)
    assert np.array_equal(frame.ground_truth, given.ground_truth)
    assert frame.stamp_ns == given.stamp_ns
    assert np.abs(frame.views[0].T_camera_lidar - given.views[0].T_camera_lidar).max() < 1e-6
    assert np.abs(frame.T_base_lidar - given.T_base_lidar).max() < 1e-6


def test_a2d2(tmp_path: Path) -> None:
    """The bag has the image with its distortion, and the lens."""
    a2d2.write(tmp_path / "a2d2", frames=2, seed=0, recordings=a2d2.RECORDINGS[:1])
    dataset = A2D2([tmp_path / "a2d2"], taxonomy=Taxonomy.load("a2d2_semantickitti10"))
    for frame, given in zip(converted(dataset, tmp_path / "bag", "a2d2_semantickitti10"), dataset, strict=True):
        check_same(frame, given)
        (view,), (rectified,) = frame.views, given.views
        assert len(view.camera.D) == 5 and rectified.camera.D == ()
        (lens,), (pinhole,) = project_all(frame.points, [view]), project_all(given.points, [rectified])
        seen = lens.valid & pinhole.valid
        assert pinhole.valid.all() and seen.mean() > 0.99
        u, v = np.rint(lens.uv[seen]).astype(int).T
        straight_u, straight_v = np.rint(pinhole.uv[seen]).astype(int).T
        error = np.abs(view.image[v, u].astype(float) - rectified.image[straight_v, straight_u])
        assert np.median(error) <= 3


def test_virtual_kitti(tmp_path: Path) -> None:
    virtual_kitti.write(tmp_path / "vkitti", frames=2, seed=0, scenes=("0006",), weathers=("fog", "clone"))
    dataset = VirtualKitti(
        [tmp_path / "vkitti"], Selection(names=("0006_fog",)), Taxonomy.load("vkitti_semantickitti6")
    )
    for frame, given in zip(converted(dataset, tmp_path / "bag", "vkitti_semantickitti6"), dataset, strict=True):
        check_same(frame, given)
        assert np.array_equal(frame.views[0].image, given.views[0].image)
        assert np.abs(frame.T_odom_lidar - given.T_odom_lidar).max() < 1e-5
