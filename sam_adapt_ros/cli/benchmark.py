"""The published benchmarks of domain adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import PATH, Force, Output, Overrides, Ray, Recipe, Workers, app, print_written
from sam_adapt_ros.cli.configuration import parse_overrides
from sam_adapt_ros.cli.console import console, make_table, say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.config import load_recipe
from sam_adapt_ros.config.benchmark import Setting


@app.command(rich_help_panel="Benchmarks")
def benchmark(
    name: Annotated[
        str,
        typer.Argument(
            help="usa_singapore, day_night, vkitti_semantickitti, a2d2_semantickitti, semantickitti_pandaset, or a "
            "YAML file such as those of config/benchmarks."
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option("--data", help="Folder of a data set, or NAME=FOLDER; once a folder.", show_default=False),
    ],
    setting: Annotated[
        Setting, typer.Option(help="uda: source and target together; source_free: the source model and the target.")
    ] = "uda",
    output: Output = Path("out/benchmark"),
    set: Overrides = [],
    recipe: Recipe = "",
    skip: Annotated[list[str], typer.Option(help="A stage that is not to be done now.", show_default=False)] = [],
    weights: Annotated[
        Path | None, typer.Option(help="A source model, in place of the stage source.", show_default=False, **PATH)
    ] = None,
    ablate: Annotated[
        bool,
        typer.Option("--ablate", help="Pseudo-labels without each mask constraint, and by direct propagation, too."),
    ] = False,
    ablate_students: Annotated[
        bool, typer.Option("--ablate-students", help="As --ablate, and a student of each.")
    ] = False,
    workers: Workers = None,
    ray: Ray = "",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without the scenes and files that are not there.")
    ] = False,
    force: Force = False,
) -> None:
    """Run a benchmark, from the data sets to the table: source, xMUDA, pseudo-labels, masks, GAPP, student, oracle.

    Interrupted at any time, the same command goes on. A stage has a folder of its own in the output. One that was
    done with other settings is refused, or done again with --force.

    Example: sam-adapt benchmark usa_singapore --data /data/nuscenes --setting uda -s masks.sam.checkpoint=sam_vit_h.pth
    """
    from sam_adapt_ros.config.benchmark import load_benchmark
    from sam_adapt_ros.parallel import choose_engine
    from sam_adapt_ros.pipelines.benchmark.run import PLOTS, RESULTS, TABLES, make_plan, run_benchmark
    from sam_adapt_ros.pipelines.benchmark.tables import tables

    plan = make_plan(
        load_benchmark(name),
        setting,
        data,
        overrides=(load_recipe(recipe) if recipe else {}) | parse_overrides(set),
        weights=weights,
        allow_missing=allow_missing,
        ablate=ablate,
        students=ablate_students,
        engine=choose_engine(workers, ray),
    )
    results = run_benchmark(plan, output, skip=skip, force=force, show=progress_bar)
    for table in tables(results):
        shown = make_table(*table.header, title=table.title)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for notice in results["notices"]:
        say(notice, "warning", "yellow")
    print_written(*(output / name for name in (RESULTS, TABLES, PLOTS)))
