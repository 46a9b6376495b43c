"""The command line's own part: errors in one line, overrides, and that every command is there."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sam_adapt_ros import __version__, cli

COMMANDS = ("convert", "info", "town", "train", "evaluate", "replay", "run", "play", "demo")


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


def test_overrides_are_yaml_values() -> None:
    assert cli.parse_overrides(["a.b=3", "c=[1, 2]", "d=x=y", "e="]) == {"a.b": 3, "c": [1, 2], "d": "x=y", "e": None}
    with pytest.raises(typer.BadParameter, match="name=value"):
        cli.parse_overrides(["a.b"])
