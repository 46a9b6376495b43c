"""The live view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import PATH, ConfigName, Force, Overrides, app, print_written
from sam_adapt_ros.cli.configuration import AUTO, SIMULATED, load_config
from sam_adapt_ros.cli.console import say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.io.outputs import prepare_file


@app.command(rich_help_panel="Offline")
def view(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Bags, bags of labels, results of replay or demo, or folders of bags.", show_default=False, **PATH
        ),
    ],
    config: ConfigName = AUTO,
    set: Overrides = [],
    adapted: Annotated[
        Path | None,
        typer.Option(
            help="Adapted weights, a file or a weight store, to show beside those of the configuration.",
            show_default=False,
            **PATH,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="An .rrd file for `rerun`, instead of opening the viewer; view.rrd where there is no display.",
            show_default=False,
            **PATH,
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Show clouds and images as they are labelled, and the learning curve, side by side in Rerun (extra `view`).

    Example: sam-adapt view /tmp/drive --adapted out/replay/store -o drive.rrd
    """
    from sam_adapt_ros.pipelines.view import find_viewed, view
    from sam_adapt_ros.visualization.rerun_view import file_or_viewer

    output = file_or_viewer(output, Path("view.rrd"))
    if output is not None:
        prepare_file(output, force=force)
    viewed = find_viewed(paths)
    bags = [each.bag for each in viewed if each.bag is not None]
    name = SIMULATED if config == AUTO and not bags else config
    shown = view(viewed, load_config(name, set, bags=bags), output, adapted, progress_bar)
    say(f"{shown.frames} frames shown")
    if output is not None:
        print_written(output)
        say(f"open it with: rerun {output}")
