"""Where layouts are written: whole or not at all, once in the cache, and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.datasets import DATASETS
from sam_adapt_ros.errors import ConfigError, OutputError
from sam_adapt_ros.pipelines.layouts import LAYOUTS, folder, town_layout, write_layout
from sam_adapt_ros.progress import Progress, no_progress


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A small data set instead of A2D2; frames and seed of each that is written."""
    calls: list[tuple[int, int]] = []

    def write(root: Path, frames: int, seed: int, progress: Progress = no_progress) -> None:
        calls.append((frames, seed))
        root.mkdir()
        (root / "first").write_text(f"{frames} {seed}")
        if frames == 13:
            raise RuntimeError("unlucky")
        progress(1, 1)

    monkeypatch.setitem(folder.LAYOUTS, "a2d2", write)
    return calls


def test_layouts_are_data_sets() -> None:
    assert set(LAYOUTS) <= set(DATASETS)


def test_whole_or_not_at_all(tmp_path: Path, written: list[tuple[int, int]]) -> None:
    output = tmp_path / "some" / "a2d2"
    with pytest.raises(RuntimeError, match="unlucky"):
        write_layout("a2d2", output, 13)
    assert not list(output.parent.iterdir())
    write_layout("a2d2", output, 2, seed=5)
    with pytest.raises(OutputError, match="a2d2 exists; choose another output or give --force"):
        write_layout("a2d2", output, 3)
    with pytest.raises(RuntimeError, match="unlucky"):
        write_layout("a2d2", output, 13, force=True)
    assert (output / "first").read_text() == "2 5"
    write_layout("a2d2", output, 3, force=True)
    assert (output / "first").read_text() == "3 0" and [path.name for path in output.parent.iterdir()] == ["a2d2"]
    with pytest.raises(ConfigError, match="one of nuscenes, semantickitti, a2d2, virtual_kitti expected, got 'x'"):
        write_layout("x", tmp_path / "x", 1)
    (output / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match=r"a2d2: has other files, such as thesis.tex"):
        write_layout("a2d2", output, 3, force=True)
    assert (output / "thesis.tex").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/a2d2: cannot be written"):
        write_layout("a2d2", tmp_path / "file" / "a2d2", 1)


def test_cached(tmp_path: Path, written: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = town_layout("a2d2", 2)
    assert town_layout("a2d2", 2) == first and tmp_path in first.parents
    assert (town_layout("a2d2", 2, seed=1) / "first").read_text() == "2 1"
    assert written == [(2, 0), (2, 1)]


def test_command(tmp_path: Path, written: list[tuple[int, int]]) -> None:
    command = ["town", str(tmp_path / "out"), "--layout", "a2d2", "--frames", "4", "--seed", "2"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0 and str(tmp_path / "out") in result.output
    assert (tmp_path / "out" / "first").read_text() == "4 2"
    assert isinstance(CliRunner().invoke(cli.app, command).exception, OutputError)
    assert CliRunner().invoke(cli.app, [*command, "--force"]).exit_code == 0
