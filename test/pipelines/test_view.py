"""`sam-adapt view`: bags, labels and runs, read back from the .rrd file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rerun_support import read_rrd
from typer.testing import CliRunner, Result

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagReader, BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.pipelines.replay import LABELS
from sam_adapt_ros.pipelines.view import Viewed, find_viewed
from sam_adapt_ros.taxonomy import Taxonomy

pytest.importorskip("rerun")

TOWN = Taxonomy.load("town")
FRAMES = 3


def write_run(folder: Path, bag: Path, facts: dict[str, object]) -> Path:
    """The results of a run that published class 1 everywhere, without the second frame."""
    with BagReader(bag, Config.load("town")) as reader, BagWriter(folder / "labels") as writer:
        for place, frame in enumerate(reader.frames()):
            if place != 1:
                ids = np.ones(len(frame.points), np.uint8)
                writer.write_labels(LABELS, frame.stamp_ns, frame.frame_id, frame.points, ids, 0.5, TOWN.colors)
    (folder / "summary.json").write_text(json.dumps(facts))
    return folder


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(
        cli.app, ["view", *map(str, arguments), "-s", "segmenter.threads=1"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result


def test_a_bag_is_shown_as_the_model_labels_it_beside_the_truth(night_bag: Path, tmp_path: Path) -> None:
    output = tmp_path / "view.rrd"
    result = run(night_bag, "-o", output)
    assert f"{FRAMES} frames shown" in result.output and f"rerun {output}" in result.output
    shown = read_rrd(output)
    with BagReader(night_bag, Config.load("town")) as reader:
        frames = list(reader.frames())
    truth = shown["/truth/cloud"]
    assert truth["stamp"] == [frame.stamp_ns for frame in frames]
    for frame, classes, positions in zip(frames, truth["Points3D:class_ids"], truth["Points3D:positions"], strict=True):
        finite = np.isfinite(frame.points).all(1)
        assert frame.ground_truth is not None
        assert classes == frame.ground_truth[finite].tolist()
        assert len(positions) == finite.sum()
    assert [len(each) for each in shown["/source/cloud"]["Points3D:class_ids"]] == [
        len(each) for each in truth["Points3D:class_ids"]
    ]
    assert len(shown["/cameras/CAM_FRONT/image"]["EncodedImage:blob"]) == FRAMES
    assert all(0.3 < value <= 1 for (value,) in shown["/curve/source"]["Scalars:scalars"])
    assert "/adapted/cloud" not in shown and "/published/cloud" not in shown


def test_labels_of_an_adapting_run_are_shown_beside_the_source_models(night_bag: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", night_bag, {"bag": str(night_bag), "adaptation": {}})
    expected = [Viewed(night_bag, folder / "labels", LABELS, True)]
    assert find_viewed([folder]) == find_viewed([folder / "labels"]) == expected
    run(folder / "labels", "-o", tmp_path / "view.rrd")
    shown = read_rrd(tmp_path / "view.rrd")
    assert shown["/published/cloud"]["frame"] == shown["/source/cloud"]["frame"] == [0, 1]
    assert {each for ids in shown["/published/cloud"]["Points3D:class_ids"] for each in ids} == {1}
    curve = {name: shown[f"/curve/{name}"]["Scalars:scalars"] for name in ("source", "published")}
    assert all(source > published for (source,), (published,) in zip(*curve.values(), strict=True))


def test_labels_whose_bag_is_gone_are_shown_alone(night_bag: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", night_bag, {"bag": str(tmp_path / "gone")})
    assert find_viewed([folder]) == [Viewed(None, folder / "labels", LABELS, False)]
    run(folder, "-o", tmp_path / "view.rrd")
    shown = read_rrd(tmp_path / "view.rrd")
    assert {entity for entity in shown if entity.endswith("/cloud")} == {"/published/cloud"}
    assert not any(entity.startswith("/cameras") for entity in shown)
    color = TOWN.colors[1].tolist()
    packed = (color[0] << 24) + (color[1] << 16) + (color[2] << 8) + 255
    assert {each for colors in shown["/published/cloud"]["Points3D:colors"] for each in colors} == {packed}


def test_a_run_over_several_bags_finds_each_of_them(night_bag: Path, tmp_path: Path) -> None:
    bags = [{"name": name, "bag": str(night_bag)} for name in ("a", "b")]
    for name in ("a", "b"):
        write_run(tmp_path / name, night_bag, {})
        (tmp_path / "run" / "labels").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "labels").rename(tmp_path / "run" / "labels" / name)
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"bag": "a, b", "bags": bags}))
    found = find_viewed([tmp_path / "run"])
    assert [each.labels for each in found] == [tmp_path / "run" / "labels" / name for name in ("a", "b")]
    assert [each.bag for each in found] == [night_bag] * 2
    with pytest.raises(BagError, match="nothing: no such bag"):
        find_viewed([tmp_path / "nothing"])
