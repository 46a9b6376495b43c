"""Benchmarks: what adaptation is worth, on simulated drives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sam_adapt_ros.cli.app import (
    ConfigName,
    Mode,
    Overrides,
    Recipe,
    app,
    console,
    print_written,
)
from sam_adapt_ros.cli.configuration import AUTO, load_config
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.config import Config


@app.command("bench-adaptation")
def bench_adaptation(
    config: ConfigName = AUTO,
    set: Overrides = [],
    shifts: Annotated[str, typer.Option(help="Domains of the town.")] = "night,abroad,sparse",
    seeds: Annotated[str, typer.Option(help="Of the drives; unseen ones are 5 higher.")] = "110-112",
    frames: Annotated[int, typer.Option(min=1, help="Length of a drive.")] = 60,
    mode: Mode = None,
    recipe: Recipe = "",
    stream: Annotated[
        str,
        typer.Option(help="Instead: what happens in the long run; some of long,return,memory.", show_default=False),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file; out/bench_adaptation.json, out/bench_stream.json.")
    ] = None,
) -> None:
    """Measure what adaptation recovers of domain shifts, on unseen drives through the town."""
    from sam_adapt_ros.benchmarks import adaptation
    from sam_adapt_ros.pipelines.simulated_drives import parse_seeds

    settings = load_config(config, set, recipe, mode)
    if stream:
        _bench_streams(settings, stream, shifts, seeds, frames, output or Path("out/bench_stream.json"))
        return
    output = output or Path("out/bench_adaptation.json")
    chosen = adaptation.Protocol(frames=frames)
    with progress_bar("adapting") as progress:
        results = adaptation.bench_adaptation(settings, shifts.split(","), parse_seeds(seeds), chosen, output, progress)
    names = ("miou_source", "miou_normalization_only", "miou_final", "miou_oracle", "recovered")
    worst = ("worst_change", "worst_change_all_points")
    table = Table("shift", *names, "of the means", "worst change", "of all points")
    for shift, row in adaptation.summarize(results).items():
        cells = (f"{row[name]:.3f} ± {row[f'{name}_spread']:.3f}" for name in names)
        others = (f"{row['recovered_of_means']:.2f}", *(f"{row[name]:+.3f}" for name in worst))
        table.add_row(shift, *cells, *others)
    console.print(table)
    print_written(output)


@app.command("bench-recipes")
def bench_recipes(
    config: ConfigName = AUTO,
    set: Overrides = [],
    recipes: Annotated[str, typer.Option(help="Of config/recipes, or YAML files.")] = (
        "batchnorm_only,selection_only,direct,default,instances_direct,instances"
    ),
    shifts: Annotated[str, typer.Option(help="Domains of the town.")] = "night,abroad,sparse",
    seeds: Annotated[str, typer.Option(help="Of the drives; unseen ones are 5 higher.")] = "110-112",
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file.")] = Path("out/bench_recipes.json"),
) -> None:
    """Compare what recipes make of the same frames, without a gate, on unseen drives through the town."""
    from sam_adapt_ros.benchmarks import recipes as comparison
    from sam_adapt_ros.pipelines.simulated_drives import parse_seeds

    chosen = {name: load_config(config, set, name) for name in recipes.split(",")}
    with progress_bar("comparing") as progress:
        rows = comparison.compare_recipes(
            load_config(config, set), chosen, shifts.split(","), parse_seeds(seeds), output=output, progress=progress
        )
    names = ("fused_seen", "gain", "gain_spread", "fused", "2d", "3d", "coverage", "precision")
    table = Table("recipe", "shift", *names)
    for recipe, by_shift in comparison.summarize(rows).items():
        for shift, row in by_shift.items():
            table.add_row(recipe, shift, *(f"{row[name]:.3f}" for name in names))
    console.print(table)
    print_written(output)


def _bench_streams(config: Config, names: str, shifts: str, seeds: str, frames: int, output: Path) -> None:
    from sam_adapt_ros.benchmarks import stream
    from sam_adapt_ros.pipelines.simulated_drives import parse_seeds

    protocol = stream.StreamProtocol(frames=frames)
    with progress_bar("driving") as progress:
        found = stream.bench_streams(
            config, names.split(","), shifts.split(","), parse_seeds(seeds), protocol, output, progress
        )
    table = Table("measured", "value", "goal")
    for row in stream.figures(found):
        table.add_row(*row)
    console.print(table)
    print_written(output)
