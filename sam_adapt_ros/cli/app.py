"""The command line's frame: the app, the options that commands share, and what they print."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sam_adapt_ros import __version__
from sam_adapt_ros.cli.console import console, make_table, say, say_error, set_up_output
from sam_adapt_ros.config.adaptation import AdaptationMode
from sam_adapt_ros.errors import BagError, SamAdaptError
from sam_adapt_ros.notices import describe_counts
from sam_adapt_ros.resources import expand_home

if TYPE_CHECKING:
    from sam_adapt_ros.evaluation.run_summary import RunSummary

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Camera + LiDAR semantic segmentation for ROS 2 that adapts itself to new domains.",
    epilog="Exit codes: 0 success; 1 an error, printed in one line; 2 an unknown command or option.",
    pretty_exceptions_show_locals=False,
)


def path(text: str | Path) -> Path:
    """The path that a user gives; ``~`` is the home folder, quoted or after an equals sign, too. Raises ConfigError."""
    given = Path(expand_home(str(text)))
    return given if given.name.strip(".") else Path(os.path.abspath(given))  # noqa: PTH100 ("." and ".." have no name)


PATH: dict[str, Any] = {"parser": path}
"""Of every argument and option that is a path."""

Bag = Annotated[Path, typer.Argument(help="A rosbag2 folder, or a ROS 1 .bag file.", show_default=False, **PATH)]
Bags = Annotated[
    list[Path],
    typer.Argument(help="Rosbag2 folders, ROS 1 .bag files, or folders of them.", show_default=False, **PATH),
]
ConfigName = Annotated[
    str,
    typer.Option(
        "--config",
        "-c",
        help="A preset (such as town, nuscenes, kitti) or a YAML file, ROS parameter files included; auto: the preset "
        "that fits the bag's topics, and town for drives that the simulator renders.",
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", "-s", help="Override one parameter, for example -s segmenter.device=cpu", show_default=False),
]
Recipe = Annotated[
    str,
    typer.Option(
        help="How to learn: a recipe of config/recipes or a YAML file; the configuration's by default.",
        show_default=False,
    ),
]
Mode = Annotated[
    AdaptationMode | None,
    typer.Option(
        help="How to adapt; observe does everything but training. The configuration's mode by default.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.", **PATH)]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-j",
        min=1,
        help="Processes of this machine that share the work, a bag each; one by default.",
        show_default=False,
    ),
]
Ray = Annotated[
    str,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Ray cluster that shares the work: auto (that of this machine), its address, or local (one of this "
        "command's own). Its machines share the disk of bags and output.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Of writing, where the operating system names no file."""


def main() -> None:
    """Console entry point: an error that the user can fix is one line, not a traceback."""
    set_up_output()
    try:
        app()
    except SamAdaptError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None and error.errno not in DISK_ERRORS:
            raise
        _fail(f"{error.filename or 'output'}: {error.strerror}")


def _fail(message: str) -> None:
    say_error(message)
    sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(__version__)
        raise typer.Exit


def print_written(*paths: Path) -> None:
    for path in paths:
        say(str(path), "written")


def print_frames(facts: Mapping[str, Any]) -> None:
    """How many frames were labelled, and what was degraded. facts: of a summary."""
    dropped = describe_counts(facts["dropped"]) or "none"
    say(f"{facts['frames_labelled']} of {facts['frames_in']} frames labelled, dropped: {dropped}")
    for notice in facts["notices"].values():
        say(notice, "warning", "yellow")


def print_summary(summary: RunSummary, output: Path) -> None:
    from sam_adapt_ros.evaluation.segmentation_metrics import score_text
    from sam_adapt_ros.visualization.run_report import bag_rows

    facts = summary.as_dict()
    print_frames(facts)
    if "bags" in facts:
        header, rows = bag_rows(facts["bags"])
        table = make_table(*header)
        for row in rows:
            table.add_row(*(score_text(cell) if not isinstance(cell, str) else cell for cell in row))
        console.print(table)
    if "miou" in facts:
        scores = ", ".join(f"{name} {score_text(value)}" for name, value in facts["miou"].items())
        say(f"mean IoU: {scores}, of {facts['frames']} frames with true labels")
    print_written(*(output / name for name in ("labels", "summary.json", "pictures", "report.html")))
    check_result(summary)


def check_result(summary: RunSummary) -> None:
    """Raises BagError that says why, when a run has no result: its exit code is not 0."""
    if summary.failure:
        raise BagError(f"{summary.facts.get('bag', 'the bag')}: {summary.failure}")
