"""Bags through the pipeline, in process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sam_adapt_ros.cli.app import (
    Bag,
    ConfigName,
    Force,
    Mode,
    Output,
    Overrides,
    Recipe,
    app,
    console,
    load_config,
    say_summary,
    say_written,
    with_mode,
)
from sam_adapt_ros.cli.progress_bar import progress_bar


@app.command()
def replay(
    bag: Bag,
    config: ConfigName = "nuscenes",
    output: Output = Path("out/replay"),
    set: Overrides = [],
    force: Force = False,
    adapt: Annotated[bool, typer.Option("--adapt", help="Learn on the way; each frame is labelled first.")] = False,
    passes: Annotated[int, typer.Option(min=1, help="With --adapt: how often the bag is driven through.")] = 1,
    mode: Mode = None,
    recipe: Recipe = "",
) -> None:
    """Label a bag in process, as fast as it goes; leaves the labelled bag, summary.json, pictures and a report."""
    from sam_adapt_ros.pipelines.adaptive_replay import replay_adapting
    from sam_adapt_ros.pipelines.replay import replay

    with progress_bar("adapting" if adapt else "labelling") as progress:
        settings = load_config(config, with_mode(set, mode), recipe)
        if adapt:
            summary = replay_adapting(bag, settings, output, passes=passes, force=force, progress=progress)
        else:
            summary = replay(bag, settings, output, force=force, progress=progress)
    for decision in summary.facts.get("adaptation", {}).get("decisions", ()):
        console.print(f"round: {decision['promoted'] or 'nothing'} promoted ({decision['reason']})", highlight=False)
    say_summary(summary, output)


@app.command("pseudo-label")
def pseudo_label(
    bag: Bag,
    config: ConfigName = "nuscenes",
    output: Output = Path("out/pseudo_labels"),
    set: Overrides = [],
    force: Force = False,
) -> None:
    """Pseudo-label a bag by selection, masks, MLA and GAPP; leaves the labels as a bag, summary, pictures, report."""
    from sam_adapt_ros.pipelines.pseudo_label import pseudo_label
    from sam_adapt_ros.visualization.pseudo_label_report import stage_rows

    with progress_bar("pseudo-labelling") as progress:
        summary = pseudo_label(bag, load_config(config, set), output, force=force, progress=progress)
    table = Table("of the points that a camera sees, %", "coverage", "precision", "recall")
    for row in stage_rows(summary.as_dict(), "seen"):
        table.add_row(*row)
    console.print(table)
    say_written(*(output / name for name in ("pseudo_labels", "summary.json", "pictures", "report.html")))


@app.command()
def ablate(
    bags: Annotated[list[Path], typer.Argument(help="Independent drives of one domain.", show_default=False)] = [],
    config: ConfigName = "town",
    output: Output = Path("out/ablation"),
    set: Overrides = [],
    domain: Annotated[
        str, typer.Option(help="Instead of bags: drives through the town of these domains, night,abroad,sparse.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Their seeds: 60-62 or 60,64.")] = "60-62",
    frames: Annotated[int, typer.Option(min=1, help="Their length.")] = 30,
    masks: Annotated[
        list[str], typer.Option(help="Mask generators to compare with the configured one.", show_default=False)
    ] = [],
    swept: Annotated[bool, typer.Option("--sweep/--no-sweep", help="Sweep every threshold, too.")] = True,
) -> None:
    """Measure what each part of the pseudo-labels is worth, and sweep every threshold."""
    from sam_adapt_ros.benchmarks import ablation
    from sam_adapt_ros.pipelines.simulated_drives import town_drives

    if bool(bags) == bool(domain):
        raise typer.BadParameter("either bags or --domain expected")
    drives = {"drives": bags}
    if domain:
        with progress_bar("rendering") as progress:
            drives = town_drives(domain, seeds, frames, progress)
    with progress_bar("measuring") as progress:
        result = ablation.ablate(drives, load_config(config, set), masks, swept=swept, progress=progress)
    for group, results in result.groups.items():
        table = Table(*ablation.HEADER, title=f"{group}, %")
        for row in ablation.table(results):
            table.add_row(*row)
        console.print(table)
    ablation.write_report(result, output)
    say_written(*(output / name for name in ("ablation.csv", "ablation.json", "pictures", "report.html")))
