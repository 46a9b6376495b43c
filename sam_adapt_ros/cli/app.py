"""The command line's frame: the app, the options that commands share, and what they say."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from rich.console import Console
from rich.logging import RichHandler

from sam_adapt_ros import __version__
from sam_adapt_ros.cli.progress_bar import console
from sam_adapt_ros.config import Config, load_recipe
from sam_adapt_ros.errors import SamAdaptError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Camera + LiDAR semantic segmentation for ROS 2 that adapts itself to new domains.",
    pretty_exceptions_show_locals=False,
)

Bag = Annotated[Path, typer.Argument(help="A rosbag2 folder, or a ROS 1 .bag file.", show_default=False)]
ConfigName = Annotated[
    str,
    typer.Option(
        "--config", "-c", help="A preset (town, nuscenes, kitti) or a YAML file, ROS parameter files included."
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", "-s", help="Override one parameter, for example -s segmenter.device=cpu", show_default=False),
]
Recipe = Annotated[
    str, typer.Option(help="How to learn: a file of config/recipes or a YAML file; by default as configured.")
]
Mode = Annotated[
    Literal["source_free", "with_source", "observe"] | None,
    typer.Option(help="How to adapt; observe: everything but training. By default as configured.", show_default=False),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]


def main() -> None:
    """Console entry point: our own errors are one line, not a traceback."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, show_time=False)],
    )
    try:
        app()
    except SamAdaptError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


def load_config(name: str, overrides: list[str] | None = None, recipe: str = "") -> Config:
    values = load_recipe(recipe) if recipe else {}
    return Config.load(name, {**values, **parse_overrides(overrides or [])})


def with_mode(overrides: list[str], mode: str | None) -> list[str]:
    return [*overrides, f"adaptation.mode={mode}"] if mode else overrides


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """``name=value`` -> dotted names and YAML values."""
    values: dict[str, Any] = {}
    for override in overrides:
        parameter, separator, value = override.partition("=")
        if not separator:
            raise typer.BadParameter(f"--set {override}: name=value expected")
        values[parameter] = yaml.safe_load(value)
    return values


def say_written(*paths: Path) -> None:
    for path in paths:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)


def say_summary(summary: Any, output: Path) -> None:
    facts = summary.as_dict()
    console.print(
        f"{facts['frames_labelled']} of {facts['frames_in']} frames labelled, dropped: {facts['dropped'] or 'none'}"
    )
    if "miou" in facts:
        console.print("mean IoU: " + ", ".join(f"{name} {value:.3f}" for name, value in facts["miou"].items()))
    say_written(*(output / name for name in ("labels", "summary.json", "pictures", "report.html")))
