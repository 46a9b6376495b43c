"""Every command that writes tries its output before the work begins; a run without a result does not exit with 0."""

import json
from pathlib import Path

import numpy as np
import pytest
from bag_factory import Drive
from typer.testing import CliRunner, Result

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.errors import BagError, OutputError
from sam_adapt_ros.messages import encode_cloud
from sam_adapt_ros.segmentation import Segmenter

BAG, TAKEN, OUT = "{bag}", "{taken}", "{out}"
WRITING = (
    ["replay", BAG, "-o", OUT],
    ["replay", BAG, "--adapt", "-o", OUT],
    ["pseudo-label", BAG, "-o", OUT],
    ["ablate", BAG, "-o", OUT],
    ["ablate", "--domain", "night", "--seeds", "1", "-o", OUT],
    ["demo", "-o", OUT],
    ["demo", "--no-adapt", "-o", OUT],
    ["train", "train_town", "-s", "training.output={out}"],
)
RESUMED = (["bench-adaptation", "-o", OUT], ["bench-recipes", "-o", OUT], ["bench-domains", "-o", OUT])
WRITING_FILES = (
    ["bench", "messages", "-o", OUT],
    ["bench-streams", "long", "-o", OUT],
    ["parameters", "-o", OUT],
)
WRITING_BAGS = (["town", OUT], ["convert", "kitti-raw", BAG, OUT], ["convert", "nuscenes", BAG, OUT])


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model and rendering a drive are what work begins with."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr(Segmenter, "load", refuse)
    monkeypatch.setattr("sam_adapt_ros.simulation.drive.Drive.record", refuse)
    monkeypatch.setattr("sam_adapt_ros.training.supervised.read_frames", refuse)
    monkeypatch.setattr("sam_adapt_ros.benchmarks.messages.run", refuse)


def run(command: list[str], bag: Path, out: Path) -> Result:
    return CliRunner().invoke(cli.app, [part.format(bag=bag, out=out) for part in command])


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("command", [*WRITING, *RESUMED, *WRITING_FILES, *WRITING_BAGS], ids=" ".join)
def test_an_output_below_a_file_is_found_before_the_work(command: list[str], night_bag: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = run(command, night_bag, tmp_path / "file" / "out")
    assert isinstance(result.exception, OutputError | BagError), result.exception
    assert str(tmp_path / "file") in str(result.exception)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_earlier_results_are_not_replaced_unless_forced(command: list[str], night_bag: Path, tmp_path: Path) -> None:
    for name in ("report.html", "ablation.json", "weights.safetensors"):
        (tmp_path / name).write_text("earlier")
    result = run(command, night_bag, tmp_path)
    assert isinstance(result.exception, OutputError)
    assert "exists; choose another output or give --force" in str(result.exception)
    (tmp_path / "pictures").write_text("mine")
    (tmp_path / "validation.json").mkdir()
    result = run([*command, "--force"], night_bag, tmp_path)
    assert isinstance(result.exception, OutputError)
    assert "expected, a f" in str(result.exception)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "ablation.json",
        "weights.safetensors",
        "pictures",
        "validation.json",
    }


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("command", WRITING_FILES[1:2], ids=" ".join)
def test_earlier_files_are_not_replaced_unless_forced(command: list[str], night_bag: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text("earlier")
    result = run(command, night_bag, file)
    assert str(result.exception) == f"{file} exists; choose another output or give --force"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"other": 1}), json.dumps({"figures": 3})])
def test_figures_are_not_mixed_into_another_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(content)
    result = CliRunner().invoke(cli.app, ["bench", "messages", "-o", str(file)])
    assert str(result.exception).startswith(f"{file}: a file of earlier figures expected")
    assert file.read_text() == content


@pytest.fixture(scope="module")
def flat_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No sweep of it can be used: the points have one coordinate."""
    path = tmp_path_factory.mktemp("flat") / "flat"
    with BagWriter(path) as writer:
        for stamp in range(1, 4):
            writer.write_cloud("/LIDAR_TOP", stamp, "LIDAR_TOP", encode_cloud({"x": np.ones(4, np.float32)}))
    return path


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["replay", BAG, "-o", OUT], r"none of 3 frames was labelled (cloud_fields 3)"),
        (["replay", BAG, "--adapt", "-o", OUT], r"none of 3 frames was labelled (cloud_fields 3)"),
        (["pseudo-label", BAG, "-o", OUT], r"none of 3 frames was labelled (cloud_fields 3)"),
        (["evaluate", BAG], "no sweep could be used (cloud_fields 3)"),
        (["ablate", BAG, "-o", OUT, "--no-sweep"], "no frames in the bag"),
    ],
)
def test_a_run_without_a_result_fails_and_says_why(
    command: list[str], reason: str, flat_bag: Path, tmp_path: Path
) -> None:
    result = run([*command, "-c", "town"], flat_bag, tmp_path)
    assert isinstance(result.exception, BagError), result.output
    assert reason in str(result.exception)
    assert str(flat_bag) in str(result.exception)
    assert command[0] not in ("replay", "pseudo-label") or "dropped: cloud_fields 3\n" in result.output


def test_without_points_that_a_camera_sees_there_is_nothing_to_ablate(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "blind") as writer:
        Drive(sweeps=1).write(writer, images=False, labels=False)
    result = run(["ablate", BAG, "-o", OUT, "--no-sweep", "-c", "town"], tmp_path / "blind", tmp_path / "out")
    assert isinstance(result.exception, BagError), result.output
    assert "blind: no camera sees a point" in str(result.exception)


@pytest.mark.parametrize(
    "command",
    [
        ["replay", BAG, "--passes", "2"],
        ["replay", BAG, "--mode", "source_free"],
        ["replay", BAG, "--recipe", "supervised"],
        ["evaluate", BAG, "--ray", "10.0.0.1:6379"],
        ["run", "-c", "town", "--until-played"],
        ["run", "-c", "town", "--rate", "0.5", "--loop", "2"],
    ],
    ids=" ".join,
)
def test_options_without_effect_are_refused(command: list[str], night_bag: Path, tmp_path: Path) -> None:
    result = run(command, night_bag, tmp_path)
    assert result.exit_code == 2
    assert command[2] in result.output or command[3] in result.output


def test_evaluate_says_how_much_was_measured(night_bag: Path, tmp_path: Path) -> None:
    result = run(["evaluate", BAG], night_bag, tmp_path)
    assert result.exit_code == 0
    assert "labelled points of 3 frames with true labels" in result.output


def test_frames_that_are_not_learned_from_are_counted(night_bag: Path, tmp_path: Path) -> None:
    result = run(["replay", BAG, "--adapt", "-o", OUT], night_bag, tmp_path / "out")
    assert result.exit_code == 0
    assert "nothing was learned" in result.output and "10 needed for training" in result.output
    assert "of all passes: none" not in result.output
    offered = json.loads((tmp_path / "out" / "summary.json").read_text())["adaptation"]["offered"]
    assert sum(offered.values()) == 3
