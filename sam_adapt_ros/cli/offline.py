"""Bags through the segmenter, the adapter and the pseudo-labels, in process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import (
    Bags,
    ConfigName,
    Force,
    Mode,
    Output,
    Overrides,
    Ray,
    Recipe,
    Workers,
    app,
    check_result,
    print_frames,
    print_summary,
    print_written,
)
from sam_adapt_ros.cli.configuration import AUTO, load_config
from sam_adapt_ros.cli.console import console, make_table, say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.parallel import choose_engine


@app.command(rich_help_panel="Offline")
def replay(
    bags: Bags,
    config: ConfigName = AUTO,
    output: Output = Path("out/replay"),
    set: Overrides = [],
    force: Force = False,
    adapt: Annotated[bool, typer.Option("--adapt", help="Adapt on the way; each frame is labelled first.")] = False,
    passes: Annotated[int, typer.Option(min=1, help="With --adapt: how often the bags are driven through.")] = 1,
    mode: Mode = None,
    recipe: Recipe = "",
) -> None:
    """Label bags in process, as fast as it goes; leaves the labelled bags, summary.json, pictures and a report.

    Several bags, or a folder of them, are one stream, in the order given, and within a folder by name.

    Example: sam-adapt replay /tmp/drive -o /tmp/labelled --adapt --passes 2
    """
    from sam_adapt_ros.bags.clips import find_bags, readable_bags
    from sam_adapt_ros.pipelines.adaptive_replay import replay_adapting
    from sam_adapt_ros.pipelines.replay import replay
    from sam_adapt_ros.visualization.adaptation_report import conclusion

    learning = {"--passes": passes > 1, "--mode": mode, "--recipe": recipe}
    if not adapt and (given := [name for name, value in learning.items() if value]):
        raise typer.BadParameter(f"{', '.join(given)}: without --adapt there is no learning")
    found = find_bags(bags)
    settings = load_config(config, set, recipe, mode, readable_bags(found))
    if adapt:
        summary = replay_adapting(found, settings, output, passes=passes, force=force, stages=progress_bar)
    else:
        summary = replay(found, settings, output, force=force, stages=progress_bar)
    if adapt:
        facts = summary.facts["adaptation"]
        say(conclusion(facts))
        for decision in facts["decisions"]:
            say(f"round: {decision['promoted'] or 'nothing'} promoted ({decision['reason']})")
    print_summary(summary, output)


@app.command("pseudo-label", rich_help_panel="Offline")
def pseudo_label(
    bags: Bags,
    config: ConfigName = AUTO,
    output: Output = Path("out/pseudo_labels"),
    set: Overrides = [],
    force: Force = False,
    workers: Workers = None,
    ray: Ray = "",
) -> None:
    """Pseudo-label bags by selection, masks, MLA and GAPP; leaves the labels as a bag, summary, pictures, report.

    Of several bags, each gets a folder of its name; those that are done are not done again. Workers share the bags, or
    the masks of a single one.

    Example: sam-adapt pseudo-label /data/scene-0061 -s masks.generator=segments
    """
    from sam_adapt_ros.bags.clips import find_bags
    from sam_adapt_ros.pipelines.pseudo_label import pseudo_label
    from sam_adapt_ros.pipelines.pseudo_label_bags import pseudo_label_bags
    from sam_adapt_ros.visualization.pseudo_label_report import stage_rows

    engine = choose_engine(workers, ray)
    bags = find_bags(bags)
    settings = load_config(config, set, bags=bags)
    if len(bags) > 1:
        summaries = pseudo_label_bags(bags, settings, output, engine=engine, force=force, stages=progress_bar)
        table = make_table("of the points that a camera sees, %", "frames", "coverage", "precision", "recall")
        for name, facts in summaries.items():
            for notice in facts["notices"].values():
                say(f"{name}: {notice}", "warning", "yellow")
            table.add_row(name, str(facts["frames_labelled"]), *stage_rows(facts, "seen")[-1][1:])
        console.print(table)
        print_written(*(output / name for name in summaries))
        return
    shared = engine if workers or ray else None
    summary = pseudo_label(bags[0], settings, output, engine=shared, force=force, stages=progress_bar)
    facts = summary.as_dict()
    print_frames(facts)
    table = make_table("of the points that a camera sees, %", "coverage", "precision", "recall")
    for row in stage_rows(facts, "seen"):
        table.add_row(*row)
    console.print(table)
    print_written(*(output / name for name in ("pseudo_labels", "summary.json", "pictures", "report.html")))
    check_result(summary)
