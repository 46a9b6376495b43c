"""Any data set -> bags, whose frames are those of the data set, through the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_factory import write_nuscenes
from kitti_factory import write_drive
from semantickitti_factory import IDS, write_sequence
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagReader, MessageReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import DATASETS, open_dataset
from sam_adapt_ros.messages import read_labels
from sam_adapt_ros.taxonomy import Taxonomy


def write(name: str, root: Path) -> None:
    if name == "nuscenes":
        write_nuscenes(root, scenes=1, samples=2, between=0)
    elif name == "semantickitti":
        write_sequence(root, frames=2)
    else:
        write_drive(root, frames=2, oxts=True)


def convert(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, ["convert", *map(str, arguments)])
    return result.output if result.exit_code == 0 else str(result.exception)


def config_of(name: str, classes: str, cameras: tuple[str, ...]) -> Config:
    """The preset, with the cameras that there are."""
    config = Config.load("kitti" if name == "kitti-raw" else name.replace("-", "_"), {"taxonomy": classes})
    return config.model_copy(update={"cameras": {camera: config.cameras[camera] for camera in cameras}})


@pytest.mark.parametrize(
    ("name", "classes"), [("nuscenes", "nuscenes6"), ("semantickitti", "town"), ("kitti-raw", "town")]
)
def test_a_bags_frames_are_the_data_sets(tmp_path: Path, name: str, classes: str) -> None:
    write(name, tmp_path / "data")
    dataset = open_dataset(name.replace("-", "_"), [tmp_path / "data"], taxonomy=Taxonomy.load(classes))
    assert str(tmp_path / "bag") in convert(name, tmp_path / "data", tmp_path / "bag")
    with BagReader(tmp_path / "bag", config_of(name, classes, dataset.cameras)) as reader:
        frames = list(reader.frames())
        labelled = "/ground_truth/labels" in reader.topics
        assert not reader.counts.dropped
    assert len(frames) == len(dataset) == 2 and labelled == (name != "kitti-raw")
    for frame, expected in zip(frames, dataset, strict=True):
        assert frame.stamp_ns == expected.stamp_ns
        assert np.array_equal(frame.points, expected.points) and np.array_equal(frame.intensity, expected.intensity)
        assert (frame.ground_truth is None) == (expected.ground_truth is None) == (not labelled)
        if labelled:
            assert np.array_equal(frame.ground_truth, expected.ground_truth)
            assert len(np.unique(frame.ground_truth)) > 3
        assert np.abs(frame.T_odom_lidar - expected.T_odom_lidar).max() < 1e-9
        assert len(frame.views) == len(expected.views) > 0
        for view, other in zip(frame.views, expected.views, strict=True):
            assert view.name == other.name and np.array_equal(view.image, other.image)
            assert np.abs(view.T_camera_lidar - other.T_camera_lidar).max() < 1e-9


def test_ids_beyond_a_byte_and_image_bytes_stay_as_they_are(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path, frames=1)
    convert("semantickitti", tmp_path, tmp_path / "bag", "--sequence", "00")
    with MessageReader(tmp_path / "bag") as reader:
        messages = {message.topic: message.decode() for message in reader.messages()}
    _, class_id, _ = read_labels(messages["/ground_truth/labels"])
    assert class_id.dtype == np.uint16 and class_id.tolist() == np.resize(IDS, 30).tolist()
    image = messages["/CAM_FRONT/image_rect_compressed"]
    assert bytes(image.data) == (folder / "image_2" / "000000.png").read_bytes() and image.format == "png"


def test_ids_that_no_class_set_has_are_refused(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path, frames=1)
    np.full(30, 300, "<u4").tofile(folder / "labels" / "000000.label")
    text = convert("semantickitti", tmp_path, tmp_path / "bag")
    assert text.endswith("000000.label: class ids from 0 to 259 expected, got 300")
    assert not (tmp_path / "bag").exists()


def test_choices(tmp_path: Path) -> None:
    for name in ("07", "08"):
        write_sequence(tmp_path / "data", name, frames=1)
    assert "bags/07" in (text := convert("semantickitti", tmp_path / "data", tmp_path / "bags")) and "bags/08" in text
    convert("semantickitti", tmp_path / "data", tmp_path / "one", "--split", "val", "--camera", "CAM_FRONT")
    with MessageReader(tmp_path / "one") as reader:
        assert reader.topics["/LIDAR_TOP"].count == 1
    # Tests may register data sets of their own after these.
    assert list(DATASETS)[:6] == ["nuscenes", "semantickitti", "a2d2", "virtual_kitti", "kitti_raw", "bag"]
    for arguments, message in [
        (("kitti", "data"), f"data set: one of {', '.join(DATASETS)} expected"),
        (("semantickitti", "data", "--split", "train"), "recordings of split train are not there"),
        (("semantickitti", "data", "--split", "train", "--allow-missing"), "no recording of split train"),
        (("semantickitti", "data", "--sweeps"), "options of nuscenes, not of semantickitti"),
        (("bag", "one"), "one: is a bag already"),
    ]:
        name, root, *options = arguments
        assert message in convert(name, tmp_path / root, tmp_path / "never", *options)
    assert not (tmp_path / "never").exists()


def test_a_bag_of_files_that_have_changed_is_not_taken_for_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [write_sequence(tmp_path / "data", name, frames=1) for name in ("07", "08")]
    convert("semantickitti", tmp_path / "data", tmp_path / "bags")
    monkeypatch.chdir(tmp_path)
    assert "another input" not in convert("semantickitti", "data", "bags"), "the same folder"
    labels = folders[1] / "labels" / "000000.label"
    labels.write_bytes(labels.read_bytes())  # a corrected release, say
    assert "08: was made of another input of this name" in convert("semantickitti", "data", "bags")
