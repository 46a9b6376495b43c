"""The command line's own part: errors in one line, overrides, and that every command is there."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from store_weights import make_weights
from typer.testing import CliRunner

from sam_adapt_ros import __version__, benchmarks, cli
from sam_adapt_ros.adaptation import Record, WeightStore
from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.cli.bench import parse_seeds
from sam_adapt_ros.errors import ConfigError

COMMANDS = (
    "convert",
    "info",
    "town",
    "train",
    "evaluate",
    "replay",
    "pseudo-label",
    "ablate",
    "bench",
    "run",
    "play",
    "demo",
    "view",
    "parameters",
    "weights",
)


def test_every_command_is_listed() -> None:
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.output


def test_version() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).output.strip() == __version__


def test_our_errors_are_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sam_adapt_ros.cli", "info", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {tmp_path / 'nothing'}: no such bag"
    assert "Traceback" not in done.stdout


def test_a_parameter_reference_that_differs_is_named(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "parameters.md"
    runner = CliRunner()
    assert runner.invoke(cli.app, ["parameters", "-o", str(file)]).exit_code == 0
    assert runner.invoke(cli.app, ["parameters"]).output == file.read_text()
    command = [sys.executable, "-m", "sam_adapt_ros.cli", "parameters", "--check", "-o", str(file)]
    assert subprocess.run(command, check=False).returncode == 0
    file.write_text(file.read_text().replace("How long a sweep waits for its images [s]", "Frames"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file}:") and "`make docs` regenerates it" in done.stderr
    assert "waits for its images [s] |" in done.stderr and "| Frames |" in done.stderr


def test_weights_commands_show_and_change_a_store(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    store.initialize(make_weights(0))
    better = store.add(make_weights(1), Record(parent=store.source().name, frames=12, gate={"agreement": 0.9}))
    store.promote(better)
    runner = CliRunner()

    def run(*arguments: str) -> str:
        result = runner.invoke(cli.app, ["weights", *arguments], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    listed = run("list", str(tmp_path))
    assert better.name in listed
    assert "source, previous" in listed
    assert '"agreement": 0.9' in run("show", str(tmp_path))
    assert store.source().name in run("show", str(tmp_path), "v0000")
    assert run("verify", str(tmp_path)) == "every file is intact\n"
    assert store.source().name in run("rollback", str(tmp_path))
    assert store.current() == store.source()
    assert better.name in run("prune", str(tmp_path), "--keep", "0")
    store.source().path.chmod(0o644)
    store.source().path.write_bytes(b"cut")
    broken = runner.invoke(cli.app, ["weights", "verify", str(tmp_path)])
    assert broken.exit_code == 1
    assert "bytes expected" in broken.output


def test_seeds() -> None:
    assert parse_seeds("60-62,70") == [60, 61, 62, 70]
    for wrong in ("", "a", "62-60", "1-", "60,,61"):
        with pytest.raises(ConfigError, match="seeds"):
            parse_seeds(wrong)


def test_figures_that_are_not_measured_again_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: SimpleNamespace(run=lambda quick: [Figure("time", 1.5, "ms", "<= 2 ms")]) for name in ("a", "b")}
    monkeypatch.setattr(benchmarks, "all_benchmarks", lambda: known)
    runner, output = CliRunner(), tmp_path / "out" / "bench.json"
    for names in (["a"], ["b"]):
        result = runner.invoke(cli.app, ["bench", *names, "-o", str(output)])
        assert result.exit_code == 0, result.output
    assert "<= 2 ms" in result.output
    assert set(json.loads(output.read_text())["figures"]) == {"a", "b"}
    unknown = runner.invoke(cli.app, ["bench", "c"])
    assert unknown.exit_code == 2
    assert "not among a, b" in unknown.output


def test_benchmarks_are_found() -> None:
    found = benchmarks.all_benchmarks()
    assert {"messages", "masks", "segmentation"} <= set(found)
    assert all(callable(module.run) for module in found.values())


def test_paths_know_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli.app, ["parameters", "--output=~/docs/parameters.md"]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]
    bag = CliRunner().invoke(cli.app, ["info", "~/drive"])
    assert str(bag.exception) == f"{tmp_path}/drive: no such bag"
    run = CliRunner().invoke(cli.app, ["run", "--bag", "~/drive"])
    assert str(run.exception) == f"{tmp_path}/drive: no such bag"


def test_the_working_folder_has_a_name(night_bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(night_bag)
    assert f"{night_bag}  rosbag2 mcap" in CliRunner().invoke(cli.app, ["info", "."]).output
    taken = CliRunner().invoke(cli.app, ["town", "."])
    assert str(taken.exception) == f"{night_bag} exists; choose another name or give --force"
    monkeypatch.chdir(night_bag.parent)
    assert "night  rosbag2 mcap" in CliRunner().invoke(cli.app, ["info", "night/../night"]).output
