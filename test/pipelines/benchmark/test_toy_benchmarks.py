"""The published benchmarks as they ship, on the simulator's drives in the data sets' own layouts; ``make bench-mini``
is the same at a size where something is learned."""

import pytest
import torch
from typer.testing import CliRunner

from sam_adapt_ros.cli import app
from sam_adapt_ros.config import load_recipe
from sam_adapt_ros.config.benchmark import load_benchmark
from sam_adapt_ros.pipelines.benchmark.run import TABLES, make_plan, run_benchmark
from sam_adapt_ros.pipelines.layouts import a2d2, nuscenes, semantickitti, virtual_kitti

SMALLEST = {"training.iterations": 1, "training.batch_size": 1, "training.device": "cpu", "segmenter.threads": 1}
DATA = {
    "usa_singapore": ["nuscenes"],
    "day_night": ["nuscenes"],
    "vkitti_semantickitti": ["virtual_kitti", "semantickitti"],
    "a2d2_semantickitti": ["a2d2", "semantickitti"],
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("toys")
    nuscenes.write(root / "nuscenes", 1, 0)
    semantickitti.write(root / "semantickitti", 1, 0, ("00", "08"))
    a2d2.write(root / "a2d2", 1, 0, a2d2.RECORDINGS[-1:])
    virtual_kitti.write(root / "virtual_kitti", 1, 0, ("0001",), ("clone",))
    return root


@pytest.mark.parametrize(
    "name", ["usa_singapore", *(pytest.param(each, marks=pytest.mark.soak) for each in DATA if each != "usa_singapore")]
)
def test_the_toy_table_is_printed(toys, tmp_path, name):
    overrides = load_recipe("mini") | SMALLEST
    plan = make_plan(
        load_benchmark(name), "uda", [str(toys / each) for each in DATA[name]], overrides=overrides, allow_missing=True
    )
    results = run_benchmark(plan, tmp_path)
    for model in results["models"]:
        assert set(model["miou"]) == {"2D", "3D", "xM"}, model
    assert len(results["published"]) == 6
    assert [each["stage"] for each in results["pseudo_labels"]] == ["selection", "labels"]
    assert results["masks"]["generators"] == ["segments"]
    text = (tmp_path / TABLES).read_text()
    assert "| published: oracle |" in text
    assert any("left out" in notice for notice in results["notices"])  # the scenes that toys do not have


def test_the_command_prints_the_table_and_says_what_is_skipped(toys, tmp_path):
    options = [part for name, value in SMALLEST.items() for part in ("-s", f"{name}={value}")]
    options += [part for each in DATA["a2d2_semantickitti"] for part in ("--data", str(toys / each))]
    options += [part for each in ("student_selected", "masks", "oracle") for part in ("--skip", each)]
    command = ["benchmark", "a2d2_semantickitti", "--recipe", "mini", "--setting", "source_free", "--allow-missing"]
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    assert "published: source only" in result.output
    assert "student is skipped: it needs labels" in result.output
    assert str(tmp_path / "results.json") in result.output
