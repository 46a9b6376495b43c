"""The benchmark on labelled real drives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import PATH, ConfigName, Force, Output, Overrides, Recipe, app, print_written
from sam_adapt_ros.cli.bench import parse_names
from sam_adapt_ros.cli.bench_town import Jobs, print_table
from sam_adapt_ros.cli.configuration import AUTO, load_config
from sam_adapt_ros.cli.console import say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.io.outputs import prepare_folder


@app.command("bench-real", rich_help_panel="Benchmarks")
def bench_real(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with semantickitti and pandaset_002; $SAM_ADAPT_REAL_DATA by default.",
            show_default=False,
            **PATH,
        ),
    ] = None,
    config: ConfigName = AUTO,
    set: Overrides = [],
    recipe: Recipe = "",
    cities: Annotated[str, typer.Option(help="Drives to measure on.")] = "karlsruhe,san_francisco",
    jobs: Jobs = 1,
    output: Output = Path("out/bench_real"),
    force: Force = False,
) -> None:
    """Measure adaptation on labelled real drives that the source model has seen nothing like.

    Compares the source model, normalization only, students of the pseudo-labels, the whole product with its gate, and
    an oracle. Rows that the output has are not measured again. The class set is that of the weights.

    Example: sam-adapt bench-real --data ../shared/data -s segmenter.weights=mine.safetensors --cities san_francisco
    """
    from sam_adapt_ros import benchmarks
    from sam_adapt_ros.benchmarks import real
    from sam_adapt_ros.benchmarks.real_drives import CITIES

    names = parse_names(cities)
    if unknown := [name for name in names if name not in CITIES]:
        raise typer.BadParameter(f"{', '.join(unknown)}: not among {', '.join(CITIES)}")
    data = data or benchmarks.real_data()
    if data is None:
        raise BagError("no real data: give --data, or set SAM_ADAPT_REAL_DATA")
    prepare_folder(output, (real.RESULTS, real.TABLE), ("parts", real.PICTURES), force=True)
    settings = load_config(config, set, recipe)
    for table in real.bench_real(settings, data, output, names, jobs, progress_bar, force=force):
        say(f"{table.city.title}: {table.city.rule}")
        for header, rows in (table.table(), table.classes(), table.pseudo_labels()):
            print_table(header, rows)
        for line in table.verdicts():
            say(line)
    print_written(output / real.RESULTS, output / real.TABLE, output / real.PICTURES)
