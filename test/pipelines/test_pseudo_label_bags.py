"""Pseudo-labels of several bags: the same as of each alone, and done once."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError, OutputError
from sam_adapt_ros.masks.lidar_segments import LidarSegments
from sam_adapt_ros.masks.mask_set import MaskSet
from sam_adapt_ros.messages import encode_cloud
from sam_adapt_ros.parallel import choose_engine
from sam_adapt_ros.pipelines import bag_masks
from sam_adapt_ros.pipelines.pseudo_label import pseudo_label
from sam_adapt_ros.pipelines.pseudo_label_bags import pseudo_label_bags
from sam_adapt_ros.simulation import render_drive

CONFIG = Config.load("town", {"masks.generator": "instances"})


@pytest.fixture(scope="module")
def day_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("town") / "day"
    render_drive("day", seed=8, frames=2, output=path)
    return path


@pytest.mark.soak
def test_two_processes_make_what_one_run_a_bag_makes(night_bag: Path, day_bag: Path, tmp_path: Path) -> None:
    found = pseudo_label_bags([night_bag, day_bag], CONFIG, tmp_path / "out", engine=choose_engine(2))
    assert list(found) == ["night", "day"]
    alone = pseudo_label(day_bag, CONFIG, tmp_path / "alone").as_dict()
    assert found["day"]["stages"] == alone["stages"]
    assert found["day"]["masks"] == alone["masks"]
    recorded = (tmp_path / "alone" / "pseudo_labels" / "pseudo_labels.mcap").read_bytes()
    assert (tmp_path / "out" / "day" / "pseudo_labels" / "pseudo_labels.mcap").read_bytes() == recorded


def test_the_command_leaves_a_folder_a_bag_and_goes_on_with_the_rest(
    night_bag: Path, day_bag: Path, tmp_path: Path
) -> None:
    with BagWriter(tmp_path / "flat") as writer:
        writer.write_cloud("/LIDAR_TOP", 1, "LIDAR_TOP", encode_cloud({"x": [1.0]}))
    bags = [str(day_bag), str(tmp_path / "flat"), str(night_bag)]
    arguments = ["-c", "town", "-o", str(tmp_path / "out"), "-s", "masks.generator=instances"]
    result = CliRunner().invoke(cli.app, ["pseudo-label", *bags, *arguments])
    assert isinstance(result.exception, BagError), result.output
    assert "flat: none of 1 frames was labelled (cloud_fields 1)" in str(result.exception)
    before = (tmp_path / "out" / "day" / "summary.json").stat().st_mtime_ns
    result = CliRunner().invoke(cli.app, ["pseudo-label", bags[0], bags[2], *arguments])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "day" / "summary.json").stat().st_mtime_ns == before
    (tmp_path / "other").mkdir()
    shutil.copytree(night_bag, tmp_path / "other" / "day")  # another bag of that name
    other = CliRunner().invoke(cli.app, ["pseudo-label", str(tmp_path / "other" / "day"), bags[2], *arguments])
    assert isinstance(other.exception, OutputError)
    assert "day: was made of another input of this name" in str(other.exception)
    rows = [line for line in result.output.splitlines() if line.startswith("│")]
    assert [row.replace("│", " ").split()[:2] for row in rows] == [["day", "2"], ["night", "3"]]
    facts = json.loads((tmp_path / "out" / "night" / "summary.json").read_text())
    assert facts["frames_labelled"] == 3


@pytest.mark.soak
def test_the_masks_of_one_bag_are_made_by_several_processes(
    night_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_masks, "SWEEPS", 2)  # of three
    config = Config.load("town", {"masks.generator": "segments"})
    alone = pseudo_label(night_bag, config, tmp_path / "alone").as_dict()
    with monkeypatch.context() as patch:
        # Masks that the driver would have to make would be another number of them.
        patch.setattr(LidarSegments, "__call__", lambda *_: MaskSet.empty(0))
        shared = pseudo_label(night_bag, config, tmp_path / "shared", engine=choose_engine(2)).as_dict()
    assert shared["stages"] == alone["stages"] and shared["masks"] == alone["masks"]
    assert not (tmp_path / "shared" / ".masks").exists()
