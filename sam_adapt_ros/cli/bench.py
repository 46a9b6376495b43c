"""Benchmarks: measured figures, and the effect of the parts of the pseudo-labels."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sam_adapt_ros.cli.app import (
    PATH,
    ConfigName,
    Force,
    Output,
    Overrides,
    app,
    print_written,
)
from sam_adapt_ros.cli.configuration import AUTO, load_config
from sam_adapt_ros.cli.console import console, make_table
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.errors import ConfigError, OutputError
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import prepare_file, write_text


@app.command(rich_help_panel="Benchmarks")
def bench(
    names: Annotated[list[str], typer.Argument(help="Of benchmarks; all when none is named.", show_default=False)] = [],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file.", **PATH)] = Path("out/bench.json"),
) -> None:
    """Measure the figures of docs/results.md.

    Figures in the output that are not measured again stay.

    Example: sam-adapt bench segmentation messages
    """
    from sam_adapt_ros.benchmarks import all_benchmarks

    known = all_benchmarks()
    if unknown := sorted({*names} - {*known}):
        raise typer.BadParameter(f"{', '.join(unknown)}: not among {', '.join(known)}")
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    prepare_file(output, force=True)
    results = _earlier_figures(output)
    for name in names or known:
        with progress_bar(f"measuring {name}"):
            figures = known[name].run(quick=quick)
        table = make_table("figure", "value", "unit", "target", "note", title=name)
        for figure in figures:
            table.add_row(figure.name, f"{figure.value:.4g}", figure.unit, figure.target, figure.note)
        console.print(table)
        results[name] = [asdict(figure) for figure in figures]
        facts = json_values({"machine": machine, "figures": results})
        write_text(output, json.dumps(facts, indent=2) + "\n")
    print_written(output)


def _earlier_figures(path: Path) -> dict[str, Any]:
    """By benchmark. Raises OutputError when the file is not one of this command."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_bytes())["figures"])
    except (ValueError, KeyError, TypeError):
        raise OutputError(f"{path}: a file of earlier figures expected, to keep them; choose another output") from None


@app.command(rich_help_panel="Benchmarks")
def ablate(
    bags: Annotated[
        list[Path], typer.Argument(help="Independent drives of one domain.", show_default=False, **PATH)
    ] = [],
    config: ConfigName = AUTO,
    output: Output = Path("out/ablation"),
    set: Overrides = [],
    force: Force = False,
    domain: Annotated[
        str,
        typer.Option(
            help="Instead of bags: simulated drives of these domains, night,new_city,other_lidar.", show_default=False
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Of the simulated drives: 60-62 or 60,64.")] = "60-62",
    frames: Annotated[int, typer.Option(min=1, help="Length of a simulated drive.")] = 30,
    masks: Annotated[
        list[str], typer.Option(help="Mask generators to compare with the configured one.", show_default=False)
    ] = [],
    swept: Annotated[bool, typer.Option("--sweep/--no-sweep", help="Sweep every threshold, too.")] = True,
) -> None:
    """Measure the effect of each step of the pseudo-labels, and sweep every threshold.

    Example: sam-adapt ablate --domain night --seeds 60-62 --no-sweep
    """
    from sam_adapt_ros.benchmarks import ablation
    from sam_adapt_ros.pipelines.simulated_drives import town_drives

    if bool(bags) == bool(domain):
        raise typer.BadParameter("give either bags or --domain")
    ablation.prepare_report(output, force=force)
    settings = load_config(config, set, bags=bags)
    drives = {"drives": bags}
    if domain:
        with progress_bar("rendering the drives") as progress:
            drives = town_drives(parse_names(domain), parse_seeds(seeds), frames, progress)
    result = ablation.ablate(drives, settings, masks, swept=swept, stages=progress_bar)
    for group, results in result.groups.items():
        table = make_table(*ablation.HEADER, title=f"{group}, %")
        for row in ablation.table(results):
            table.add_row(*row)
        console.print(table)
    ablation.write_report(result, output)
    print_written(*(output / name for name in ("ablation.csv", "ablation.json", "pictures", "report.html")))


def parse_seeds(text: str) -> list[int]:
    """``60-62`` -> 60, 61, 62; ``60,64`` -> 60, 64. Raises ConfigError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) < int(first):
            raise ConfigError(f"seeds: 60-62 or 60,64 expected, got {text!r}")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def parse_names(text: str) -> list[str]:
    """``a, b`` -> a, b."""
    return [name.strip() for name in text.split(",")]
