"""What commands print is whole and says what it is given, whatever the text, the terminal or the pipe."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.cli.console import console, make_table, say, say_error
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.resources import share_directory

ODD = "[red]x[/] [/] :100: [bold]${y} \\[z]"
TOPIC = "/a/very/long/name/" + "of_a_topic/" * 20 + "points"


@pytest.fixture(scope="module")
def odd_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag with a long topic, in a folder of an odd name."""
    path = tmp_path_factory.mktemp("odd") / "träge [red]x[&] :100: <b>"
    with BagWriter(path) as writer:
        writer.write_odometry(TOPIC, 1, "odom", "base_link", __import__("numpy").eye(4))
    return path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command line in a process of its own, through a pipe."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    command = [sys.executable, "-m", "sam_adapt_ros.cli", *arguments]
    return subprocess.run(
        command,
        env={**plain, "PYTHONPATH": str(share_directory()), **environment},
        capture_output=True,
        check=False,
    )


def test_text_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say(ODD)
    say(ODD, "warning", "yellow")
    say_error(f"{ODD}\n  second line\n")
    table = make_table("head [b]", title=ODD)
    table.add_row(ODD)
    console.print(table)
    with progress_bar(ODD) as progress:
        progress(1, 2)
    printed, error = capsys.readouterr()
    assert printed.splitlines()[:2] == [ODD, f"warning: {ODD}"]
    assert error == f"error: {ODD}; second line\n"
    assert printed.count(ODD) == 6
    assert "head [b]" in printed


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "40"}, {"FORCE_COLOR": "1"}, {"LANG": "C"}])
def test_tables_through_a_pipe_are_whole(odd_bag: Path, environment: dict[str, str]) -> None:
    done = run("info", str(odd_bag), "-c", "town", **environment)
    lines = done.stdout.decode().splitlines()
    (row,) = [line for line in lines if TOPIC in line and "nav_msgs/msg/Odometry" in line]
    assert " 1 " in row
    assert any(str(odd_bag) in line for line in lines)
    assert done.returncode == 1  # it has no LiDAR


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict"])
def test_terminals_of_other_encodings_get_everything(odd_bag: Path, encoding: str) -> None:
    done = run("info", str(odd_bag), "-c", "town", PYTHONIOENCODING=encoding)
    assert b"Traceback" not in done.stderr
    assert TOPIC.encode() in done.stdout
    name = str(odd_bag).encode(encoding.partition(":")[0], "backslashreplace")
    assert name in done.stdout
    failed = run("info", str(odd_bag / "keine Tüte"), PYTHONIOENCODING=encoding)
    assert failed.stderr.count(b"\n") == 1
    assert name in failed.stderr


def test_a_path_that_is_not_text_is_shown(tmp_path: Path) -> None:
    done = run("info", os.fsdecode(os.fsencode(tmp_path) + b"/t\xfcte"))
    assert done.stderr.decode() == f"error: {tmp_path}/t\\udcfcte: no such bag\n"


def test_a_reader_that_goes_away_is_no_error(odd_bag: Path) -> None:
    command = [sys.executable, "-m", "sam_adapt_ros.cli", "parameters"]
    environment = {**os.environ, "PYTHONPATH": str(share_directory())}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
