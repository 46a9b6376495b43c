"""The true labels of a bag: by their stamps, and what is said when they fit no sweep or no class set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_factory import SECOND, Drive, config

from sam_adapt_ros.bags import BagReader, BagWriter, bag_info
from sam_adapt_ros.bags.label_clouds import LabelClouds
from sam_adapt_ros.errors import TaxonomyError


class ShiftedLabels(Drive):
    """A drive whose label clouds are stamped ``shift_ns`` after their sweeps, all or every third of them."""

    shift_ns = 0
    every = 1

    def write(self, writer: BagWriter, **parts: bool) -> None:
        super().write(writer, labels=False, **parts)
        for index in range(0, self.sweeps, self.every):
            stamp, cloud, ones = self.sweep_ns(index) + self.shift_ns, self.cloud(index), np.ones(self.points)
            colors = np.zeros((256, 3), np.uint8)
            writer.write_labels("/ground_truth/labels", stamp, "LIDAR_TOP", cloud, self.class_id(index), ones, colors)


def labelled(path: Path, shift_ns: int, every: int = 1) -> tuple[list[bool], list[str]]:
    """Whether each frame has ground truth, and the notices of the run."""
    drive = ShiftedLabels(sweeps=6)
    drive.shift_ns, drive.every = shift_ns, every
    with BagWriter(path) as writer:
        drive.write(writer)
    with BagReader(path, config()) as reader:
        found = [frame.ground_truth is not None for frame in reader.frames()]
        return found, list(reader.notices)


@pytest.mark.parametrize("shift_ns", [0, 1_000, -1_000, 999_999])
def test_stamps_may_be_rounded(tmp_path: Path, shift_ns: int) -> None:
    assert labelled(tmp_path / "bag", shift_ns) == ([True] * 6, [])


def test_labels_of_some_sweeps_are_enough(tmp_path: Path) -> None:
    assert labelled(tmp_path / "bag", 0, every=3) == ([True, False, False] * 2, [])


@pytest.mark.parametrize(("shift_ns", "off"), [(5_000_000, "+0.005000 s"), (-37 * SECOND, "-36.500000 s")])
def test_labels_of_no_sweep_are_said(tmp_path: Path, shift_ns: int, off: str) -> None:
    found, (notice,) = labelled(tmp_path / "bag", shift_ns)
    assert not any(found)
    assert notice.startswith("/ground_truth/labels: no label cloud has a sweep's stamp (6 and 6 were read)")
    assert f"the nearest is {off} off, at most 0.001 s expected" in notice
    assert any("no label cloud has a sweep's stamp" in line for line in bag_info(tmp_path / "bag", config()).notices)


def test_a_part_of_a_bag_says_nothing_of_the_labels_of_the_rest(tmp_path: Path) -> None:
    labelled(tmp_path / "bag", 0, every=3)
    with BagReader(tmp_path / "bag", config()) as reader:
        assert [frame.ground_truth for frame in reader.frames({1, 2})] == [None, None]
        assert list(reader.notices) == []


def test_the_nearest_label_cloud_is_the_sweeps() -> None:
    clouds = LabelClouds()
    for stamp in (100, 900_000, 2_000_000):
        clouds.add(stamp, stamp)
    assert [clouds.take(stamp) for stamp in (1_000_000, 0, 0, 1_500_000)] == [900_000, 100, None, 2_000_000]


def test_foreign_ids_end_the_reading_and_are_told_by_info(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        Drive().write(writer)
    foreign = config(ground_truth__mapping="", taxonomy="town")
    said = r"/ground_truth/labels: class ids 8, .*; set ground_truth\.mapping to nuscenes_lidarseg or pandaset"
    with BagReader(tmp_path / "bag", foreign) as reader, pytest.raises(TaxonomyError, match=said) as caught:
        list(reader.frames())
    assert str(caught.value).startswith(f"{tmp_path / 'bag'}: ")
    info = bag_info(tmp_path / "bag", foreign)
    assert not info.usable and info.missing[0].startswith("/ground_truth/labels: class ids 8, ")


def test_a_mapping_that_the_class_set_lacks_is_said(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        Drive().write(writer)
    with BagReader(tmp_path / "bag", config(ground_truth__mapping="mars")) as reader:
        assert all(frame.ground_truth is None for frame in reader.frames())
        assert list(reader.notices) == [
            "/ground_truth/labels: true labels are not read: taxonomy nuscenes6 has no mapping 'mars'"
        ]


def test_label_clouds_of_one_stamp_are_said() -> None:
    clouds = LabelClouds()
    for stamp in (SECOND, SECOND, SECOND, 4 * SECOND):
        clouds.add(stamp, None)
    for stamp in (SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND):
        clouds.take(stamp)
    assert clouds.complaint().startswith(
        "2 of 4 sweeps have no true labels, while 2 label clouds have the stamp of no "
    )


def test_some_label_clouds_of_no_sweep_are_said() -> None:
    clouds = LabelClouds()
    for stamp in (SECOND, 2 * SECOND + 70_000_000, 3 * SECOND):
        clouds.add(stamp, None)
    for stamp in (SECOND, 2 * SECOND, 3 * SECOND):
        clouds.take(stamp)
    assert clouds.complaint().startswith("1 of 3 sweeps have no true labels, while 1 label clouds ")
