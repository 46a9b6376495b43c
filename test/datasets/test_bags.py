"""Bags as a data set: the frames that reading the bag from its beginning gives, in any order."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from bag_factory import Drive, config

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader
from sam_adapt_ros.datasets import Bags, Selection, open_dataset
from sam_adapt_ros.errors import BagError, TaxonomyError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

SIX = Taxonomy.load("nuscenes6")
SWEEPS = 60  # at 10 Hz: longer than what is read around a sweep


@pytest.fixture(scope="module", params=["mcap", "sqlite3"])
def bag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    with BagWriter(path, request.param, 9) as writer:
        Drive(sweeps=SWEEPS).write(writer)
    return path


def same(a: Frame, b: Frame) -> bool:
    views = list(zip(a.views, b.views, strict=True))
    return (
        a.stamp_ns == b.stamp_ns
        and np.array_equal(a.points, b.points)
        and np.array_equal(a.ground_truth, b.ground_truth)
        and np.array_equal(a.T_odom_lidar, b.T_odom_lidar)
        and np.array_equal(a.T_base_lidar, b.T_base_lidar)
        and all(
            np.array_equal(v.image, w.image) and np.array_equal(v.T_camera_lidar, w.T_camera_lidar) for v, w in views
        )
    )


def test_frames_are_those_of_the_whole_bag(bag: Path) -> None:
    with BagReader(bag, config()) as reader:
        expected = list(reader.frames())
    dataset = pickle.loads(pickle.dumps(open_dataset("bag", [bag], taxonomy=SIX, config=config())))
    assert dataset.ids == [f"drive/{frame.stamp_ns}" for frame in expected] and len(dataset) == SWEEPS
    assert all(len(frame.views) == 2 and frame.ground_truth is not None for frame in expected[1:])
    for place in (SWEEPS - 1, 30, 0, 1, 31):
        assert same(dataset[place], expected[place]), place


def test_what_a_bag_has_only_once_holds_throughout(tmp_path: Path) -> None:
    """The CameraInfo of its beginning, and the calibration file."""
    drive = Drive(sweeps=SWEEPS)
    with BagWriter(tmp_path / "bag") as writer:
        drive.write(writer, info=False)
        Drive(sweeps=1).write(writer, tf=False, odometry=False, labels=False, images=False)
    with BagReader(tmp_path / "bag", config()) as reader:
        expected = list(reader.frames())
    dataset = Bags([tmp_path / "bag"], taxonomy=SIX, config=config())
    assert len(expected[-1].views) == 2 and same(dataset[SWEEPS - 1], expected[-1])


def test_choices(bag: Path, tmp_path: Path) -> None:
    dataset = Bags([bag.parent], Selection(cameras=("CAM_BACK",)), config=config())
    assert [view.name for view in dataset[3].views] == ["CAM_BACK"] and dataset[3].ground_truth is None
    for arguments, message in [
        (([bag], Selection("train")), "bag: split: none expected, got 'train'"),
        (([bag], Selection(names=("other",))), r"no 'other' \(has 1: drive\)"),
        (([bag], Selection(cameras=("left",))), r"no camera left \(has CAM_FRONT, CAM_BACK\)"),
        (([tmp_path / "none"],), "none: no such bag"),
    ]:
        with pytest.raises(BagError, match=message):
            Bags(*arguments, config=config())
    with pytest.raises(TaxonomyError, match="no mapping 'nuscenes_lidarseg'"):
        Bags([bag], taxonomy=Taxonomy.load("vkitti_semantickitti6"), config=config())
    with pytest.raises(BagError, match="drive: no preset fits its topics"):
        Bags([bag])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "drive").symlink_to(bag)
    with pytest.raises(BagError, match="has the name of"):
        Bags([bag, tmp_path / "other"], config=config())


def test_sweeps_that_give_no_frame_are_left_out_and_counted(tmp_path: Path) -> None:
    """As reading the bag from its beginning drops them."""
    drive, empty = Drive(sweeps=5), Drive(points=0)
    with BagWriter(tmp_path / "bag") as writer:
        drive.write(writer)
        empty.write_sweep(writer, 5)
        drive.write_sweep(writer, 6)
    with BagReader(tmp_path / "bag", config()) as reader:
        expected = [frame.stamp_ns for frame in reader.frames()]
    notices = Notices()
    dataset = Bags([tmp_path / "bag"], notices=notices, config=config())
    assert dataset.ids == [f"bag/{stamp}" for stamp in expected] and len(dataset) >= 6
    assert all(len(frame.points) == 50 for frame in dataset)
    assert "1 of 7 sweeps give no frame (cloud_empty 1)" in notices.as_dict()["sweeps:bag"]


@pytest.mark.parametrize(
    ("shift_ns", "sync"),
    [(700_000_000, {"sync__camera_timeout": 1.0, "sync__queue_size": 20}), (-520_000_000, {})],
)
def test_images_that_were_recorded_long_before_or_after_their_sweep_are_found(
    tmp_path: Path, shift_ns: int, sync: dict[str, float]
) -> None:
    """As in the bag read from its beginning to its end."""
    with BagWriter(tmp_path / "whole") as writer:
        Drive(sweeps=20).write(writer)
    with MessageReader(tmp_path / "whole") as reader, BagWriter(tmp_path / "bag") as writer:
        for message in reader.messages():
            shift = shift_ns if "image" in message.topic else 0
            writer.write(
                message.topic,
                message.decode(),
                message.log_time_ns + shift,
                transient_local=message.topic == "/tf_static",
            )
    with BagReader(tmp_path / "bag", config(**sync)) as reader:
        views = [len(frame.views) for frame in reader.frames()]
    assert sum(views) >= 30
    bags = open_dataset("bag", [tmp_path / "bag"], config=config(**sync))
    assert [len(bags[place].views) for place in range(len(bags))] == views
