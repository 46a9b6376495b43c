"""KITTI raw as a sequence of frames: which drives a root has, and what is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kitti_factory import write_drive

from sam_adapt_ros.datasets import KittiRaw, Selection
from sam_adapt_ros.errors import BagError


def test_a_root_is_a_drive_a_date_or_a_folder_of_dates(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, frames=2, oxts=True)
    shutil.copytree(drive, other := drive.with_name("2011_09_26_drive_0002_sync"))
    ids = [f"{each.name}/{number:010d}" for each in (drive, other) for number in range(2)]
    assert KittiRaw([drive]).ids == ids[:2] and KittiRaw([other, drive]).ids == ids[2:] + ids[:2]
    for root in (tmp_path, drive.parent):
        assert KittiRaw([root]).ids == ids
        assert KittiRaw([root], Selection(names=("*_0002_*",))).ids == ids[2:]


def test_a_frame_is_what_has_one_number(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, frames=3, oxts=True)
    (drive / "image_02" / "data" / "0000000001.png").unlink()
    dataset = KittiRaw([drive])
    assert [len(frame.views) for frame in dataset] == [1, 0, 1]  # a neighbour's image is not taken
    scan = np.fromfile(drive / "velodyne_points" / "data" / "0000000002.bin", np.float32).reshape(-1, 4)
    frame = dataset[2]
    assert np.array_equal(frame.points, scan[:, :3]) and np.array_equal(frame.intensity, scan[:, 3])
    assert frame.ground_truth is None and frame.views[0].stamp_ns - frame.stamp_ns == 10_000_000
    assert frame.T_odom_lidar[0, 3] == pytest.approx(2.0, abs=0.05)  # 10 m/s for 0.2 s, along x


def test_what_is_not_there(tmp_path: Path) -> None:
    drive = write_drive(tmp_path, frames=1)
    for selection, message in [
        (Selection("train"), "kitti_raw: split: none expected, got 'train'"),
        (Selection(names=("0009",)), r"no '0009' \(has 1: 2011_09_26_drive_0001_sync\)"),
        (Selection(cameras=("CAM_BACK",)), r"no camera CAM_BACK \(has CAM_FRONT\)"),
    ]:
        with pytest.raises(BagError, match=message):
            KittiRaw([tmp_path], selection)
    dataset = KittiRaw([tmp_path])
    (drive / "velodyne_points" / "data" / "0000000000.bin").unlink()
    with pytest.raises(BagError, match=r"0000000000\.bin: cannot be read: No such file"):
        dataset[0]
