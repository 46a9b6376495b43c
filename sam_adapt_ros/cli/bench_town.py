"""Benchmarks of adaptation in the simulated town."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam_adapt_ros.cli.app import PATH, ConfigName, Force, Output, Overrides, Recipe, app, print_written
from sam_adapt_ros.cli.bench import parse_names, parse_seeds
from sam_adapt_ros.cli.configuration import AUTO, load_config
from sam_adapt_ros.cli.console import console, make_table, say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.io.outputs import prepare_file, prepare_folder

if TYPE_CHECKING:
    from sam_adapt_ros.benchmarks.adaptation import Measurement

REPORTED = "night,new_city,other_lidar,night+other_lidar,new_city+rain"
Shifts = Annotated[str, typer.Option(help="Domains of the simulated town, several joined by +.")]
Seeds = Annotated[str, typer.Option(help="Of the drives that are learned from: 60-69 to choose by, 110-119 to report.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes, each with one thread.")]
Miscalibrated = Annotated[
    bool, typer.Option("--miscalibrated", help="Each shift also with wrong extrinsics and late images.")
]


@app.command("bench-adaptation", rich_help_panel="Benchmarks")
def bench_adaptation(
    config: ConfigName = AUTO,
    set: Overrides = [],
    shifts: Shifts = REPORTED,
    seeds: Seeds = "110-112",
    miscalibrated: Miscalibrated = False,
    recipe: Recipe = "",
    with_source: Annotated[
        bool, typer.Option("--with-source", help="Adapt also with labelled frames of the source domain.")
    ] = False,
    jobs: Jobs = 1,
    output: Output = Path("out/bench_adaptation"),
    force: Force = False,
) -> None:
    """Measure what adaptation recovers of domain shifts, on unseen simulated drives.

    Compares the source model, normalization only, the weights that the whole product ends with, and an oracle. What
    the output has is not measured again.

    Example: sam-adapt bench-adaptation --shifts night --seeds 110-112 --jobs 2
    """
    from sam_adapt_ros.benchmarks import adaptation

    settings = load_config(config, set, recipe)
    recipes = {adaptation.ADAPTED: settings}
    if with_source:
        recipes[f"{adaptation.ADAPTED}, with source"] = adaptation.with_source(settings)
    chosen = _joined(shifts, miscalibrated)
    _measure(adaptation.Measurement(settings, recipes, chosen, parse_seeds(seeds)), output, jobs, force)


@app.command("bench-recipes", rich_help_panel="Benchmarks")
def bench_recipes(
    config: ConfigName = AUTO,
    set: Overrides = [],
    recipes: Annotated[str, typer.Option(help="Of config/recipes, or YAML files; the first is compared with.")] = (
        "default,selection_only,direct,instances_direct,instances"
    ),
    variant: Annotated[
        list[str],
        typer.Option(
            "--variant",
            "-v",
            help="The first recipe with other values: 'no voting:pseudo_labels.voting_cell=0;masks.generator=sam'.",
            show_default=False,
        ),
    ] = [],
    gate: Annotated[
        bool, typer.Option("--gate", help="The whole product learns along the drive, instead of one student.")
    ] = False,
    shifts: Shifts = REPORTED,
    seeds: Seeds = "110-112",
    miscalibrated: Miscalibrated = False,
    oracle: Annotated[bool, typer.Option(help="Compare with the oracle, too.")] = True,
    true_labels: Annotated[
        bool, typer.Option("--true-labels", help="Compare with a student of the drive's true labels, too.")
    ] = False,
    jobs: Jobs = 1,
    output: Output = Path("out/bench_recipes"),
    force: Force = False,
) -> None:
    """Compare what recipes make of the same simulated drives, on unseen ones.

    Example: sam-adapt bench-recipes --recipes default -v 'no voting:pseudo_labels.voting_cell=0' --shifts night
    """
    from sam_adapt_ros.benchmarks import adaptation
    from sam_adapt_ros.benchmarks.students import check_recipe

    names = parse_names(recipes)
    chosen = {name: load_config(config, set, name) for name in names}
    for text in variant:
        name, overrides = parse_variant(text)
        chosen[name] = load_config(config, [*set, *overrides], names[0])
    if not gate:
        for name, each in chosen.items():
            check_recipe(name, each)
    measurement = adaptation.Measurement(
        load_config(config, set), chosen, _joined(shifts, miscalibrated), parse_seeds(seeds), gate, oracle,
        true_labels,
    )  # fmt: skip
    _measure(measurement, output, jobs, force)


@app.command("bench-domains", rich_help_panel="Benchmarks")
def bench_domains(
    config: ConfigName = AUTO,
    set: Overrides = [],
    shifts: Shifts = REPORTED,
    seeds: Seeds = "60-62",
    miscalibrated: Miscalibrated = False,
    jobs: Jobs = 1,
    output: Output = Path("out/bench_domains"),
    force: Force = False,
) -> None:
    """Measure how hard the simulated town's domain shifts are for the source model, beside published ones.

    Example: sam-adapt bench-domains --shifts night,new_city --jobs 2
    """
    from sam_adapt_ros.benchmarks import calibration

    _prepare(output)
    rows = calibration.calibrate(
        load_config(config, set), output, _joined(shifts, miscalibrated), parse_seeds(seeds), jobs=jobs,
        stages=progress_bar, force=force,
    )  # fmt: skip
    print_table(calibration.HEADER, calibration.table(rows))
    print_written(output / "results.json", output / "table.md")


@app.command("bench-gate", rich_help_panel="Benchmarks")
def bench_gate(
    config: ConfigName = AUTO,
    set: Overrides = [],
    recipe: Recipe = "",
    shifts: Shifts = REPORTED,
    seeds: Seeds = "60-61",
    jobs: Jobs = 1,
    output: Output = Path("out/bench_gate"),
    force: Force = False,
) -> None:
    """Measure how well the promotion gate, which sees no labels, tells good candidates from bad ones.

    Example: sam-adapt bench-gate --shifts night,new_city --seeds 60 --jobs 2
    """
    from sam_adapt_ros.benchmarks import gate

    _prepare(output)
    table = gate.bench_gate(
        load_config(config, set, recipe), output, parse_names(shifts), parse_seeds(seeds), jobs=jobs,
        stages=progress_bar, force=force,
    )  # fmt: skip
    print_table(gate.CORRELATIONS, table.correlations())
    print_table(gate.PROMOTIONS, table.promotions())
    print_table(gate.KINDS, table.kinds())
    print_written(output / "results.json", output / "table.md")


@app.command("bench-streams", rich_help_panel="Benchmarks")
def bench_streams(
    names: Annotated[list[str], typer.Argument(help="long, return, memory; all when none is named.")] = [],
    config: ConfigName = AUTO,
    set: Overrides = [],
    recipe: Recipe = "",
    shifts: Shifts = "night,new_city,other_lidar",
    seeds: Seeds = "110",
    frames: Annotated[int, typer.Option(min=1, help="Length of a drive.")] = 60,
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file.", **PATH)] = Path("out/bench_streams.json"),
    force: Force = False,
) -> None:
    """Measure adaptation in the long run: ten drives, out and back, memory.

    Example: sam-adapt bench-streams return --seeds 60
    """
    from sam_adapt_ros.benchmarks import stream

    settings = load_config(config, set, recipe)
    prepare_file(output, force=force)
    protocol = stream.StreamProtocol(frames=frames)
    found = stream.bench_streams(
        settings, names or stream.STREAMS, parse_names(shifts), parse_seeds(seeds), protocol, output, progress_bar
    )
    print_table(("measured", "value", "target"), stream.figures(found))
    print_written(output)


def parse_variant(text: str) -> tuple[str, list[str]]:
    """``name:key=value;key=value`` -> the name and ``key=value`` each. Raises ConfigError for anything else."""
    name, colon, rest = text.partition(":")
    overrides = [each.strip() for each in rest.split(";") if each.strip()]
    if not colon or not name.strip() or not overrides:
        raise ConfigError(f"--variant {text}: name:key=value;key=value expected")
    return name.strip(), overrides


def _joined(shifts: str, miscalibrated: bool) -> list[str]:
    from sam_adapt_ros.benchmarks.unseen_drives import MISCALIBRATED

    names = parse_names(shifts)
    return [*names, *(f"{name}+{MISCALIBRATED}" for name in names)] if miscalibrated else names


def _measure(measurement: Measurement, output: Path, jobs: int, force: bool) -> None:
    from sam_adapt_ros.benchmarks import adaptation

    _prepare(output)
    table = adaptation.measure(measurement, output, jobs, progress_bar, force=force)
    print_table(*table.table())
    print_table(*table.branches())
    for line in table.verdicts():
        say(line)
    print_written(output / "results.json", output / "table.md")


def _prepare(output: Path) -> None:
    prepare_folder(output, ("results.json", "table.md"), ("parts",), force=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table of text."""
    table = make_table(*header)
    for row in rows:
        table.add_row(*row)
    console.print(table)
