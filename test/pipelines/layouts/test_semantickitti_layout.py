"""SemanticKITTI's layout, written and read back: the frame that comes is the frame that was rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam_adapt_ros.datasets import Selection, SemanticKitti
from sam_adapt_ros.geometry import invert
from sam_adapt_ros.pipelines.layouts import semantickitti
from sam_adapt_ros.pipelines.layouts.drives import pixels
from sam_adapt_ros.taxonomy import Taxonomy

TEN = Taxonomy.load("a2d2_semantickitti10")
SAME = {"road": "road", "sidewalk": "sidewalk", "terrain": "nature", "building": "building", "vegetation": "nature"}
CLASSES = SAME | {"vehicle": "car", "pedestrian": "person", "pole": "other-objects", "truck": "truck"}


def test_frame_is_what_was_rendered(tmp_path: Path) -> None:
    semantickitti.write(tmp_path, frames=2, seed=0, sequences=("07", "08"))
    dataset = SemanticKitti([tmp_path], Selection("val"), TEN)
    assert dataset.ids == ["07/000000", "07/000001"]
    drive = semantickitti.drive("07", seed=0, frames=2)
    r, frame = drive.record(1), dataset[1]
    (view,) = frame.views
    assert np.array_equal(frame.points, r.sweep.points)
    assert np.array_equal(view.image, pixels(r))
    T_camera_lidar = invert(drive.T_base_camera) @ drive.lidar.T_base_lidar
    assert np.abs(view.T_camera_lidar - T_camera_lidar).max() < 1e-6
    assert np.abs(view.camera.K - drive.camera.model.K).max() < 1e-6
    kinds = np.array([*drive.kinds, *[""] * (256 - len(drive.kinds))])[drive.kind(r.sweep.class_id, r.sweep.instance)]
    expected = [TEN.classes.index(CLASSES[kind]) if kind else 255 for kind in kinds]
    assert np.array_equal(frame.ground_truth, expected)
    assert frame.T_odom_lidar is not None and dataset[0].T_odom_lidar is not None
    T = [drive.record(index).T_odom_base @ drive.lidar.T_base_lidar for index in (0, 1)]
    assert np.abs(invert(dataset[0].T_odom_lidar) @ frame.T_odom_lidar - invert(T[0]) @ T[1]).max() < 1e-5
    assert set(semantickitti.SEQUENCES) == {
        name for split in ("train", "val", "test") for name in SemanticKitti.SPLITS[split]
    }
    instances = np.fromfile(tmp_path / "sequences/07/labels/000001.label", "<u4") >> 16
    assert np.array_equal(instances, r.sweep.instance)
