"""The nodes, where there is no ROS to start them; the demo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.cli.app import (
    Bag,
    ConfigName,
    Output,
    Overrides,
    app,
    console,
    load_config,
    parse_overrides,
    say_summary,
)
from sam_adapt_ros.cli.progress_bar import progress_bar


@app.command()
def run(
    config: ConfigName = "nuscenes",
    set: Overrides = [],
    mode: Annotated[
        Literal["source_free", "with_source", "observe", "off"] | None,
        typer.Option(help="How to learn; by default as configured. observe: everything but training; off: not at all."),
    ] = None,
    weights: Annotated[str, typer.Option(help="Of the source model; by default as configured.")] = "",
    sam_checkpoint: Annotated[str, typer.Option(help="Of Segment Anything, which the masks then come from.")] = "",
    store: Annotated[
        str, typer.Option(help="The weight store; by default as configured, else ~/.ros/sam_adapt_ros/store.")
    ] = "",
    use_sim_time: Annotated[bool | None, typer.Option(help="By default: when a bag is played.")] = None,
    namespace: str = "",
    log_level: str = "info",
    bag: Annotated[Path | None, typer.Option(help="Play this bag, with /clock.")] = None,
    rate: Annotated[float, typer.Option(help="Times the recorded speed.")] = 1.0,
    loop: Annotated[int, typer.Option(help="How often the bag is played; 0: for ever.")] = 1,
    until_played: Annotated[
        bool, typer.Option("--until-played", help="End when the bag does, once it is summed up in mode observe.")
    ] = False,
) -> None:
    """Start segmenter and adapter where there is no `ros2 launch`; the same as launch/adapt.launch.py."""
    from sam_adapt_ros.nodes.tools.launcher import run

    code = run(
        config,
        overrides=parse_overrides(set),
        mode=mode or "",
        weights=weights,
        sam_checkpoint=sam_checkpoint,
        store=store,
        use_sim_time=use_sim_time,
        namespace=namespace,
        log_level=log_level,
        bag=bag,
        rate=rate,
        loop=loop,
        until_played=until_played,
    )
    raise typer.Exit(code)


@app.command()
def play(
    bag: Bag,
    rate: Annotated[float, typer.Option(help="Times the recorded speed.")] = 1.0,
    loop: Annotated[int, typer.Option(help="How often; 0: for ever.")] = 1,
    clock: Annotated[bool, typer.Option(help="Publish /clock.")] = True,
    topics: Annotated[list[str], typer.Option("--topic", help="Only these.", show_default=False)] = [],
    wait_for: Annotated[
        list[str], typer.Option(help="Topics that must have a subscriber first.", show_default=False)
    ] = [],
) -> None:
    """Publish a bag over DDS where there is no `ros2 bag play`."""
    from sam_adapt_ros.nodes.tools.player import play

    played = play(bag, rate=rate, loop=loop, clock=clock, topics=topics or None, wait_for=wait_for)
    console.print(f"{sum(played.published.values())} messages in {played.seconds:.1f} s")


@app.command()
def demo(
    output: Output = Path("out/demo"),
    set: Overrides = [],
    domain: Annotated[str, typer.Option(help="Of the town: night, abroad, sparse, day, or several joined by +.")] = "",
    adapt: Annotated[bool, typer.Option("--adapt/--no-adapt", help="Learn on the way, or only label.")] = True,
) -> None:
    """Drive the shipped day model through a night town, live over DDS, and watch it adapt: ends with a report.

    Without learning: a drive by day.
    """
    from sam_adapt_ros.pipelines.demo import Plan, adapt_live, label_live

    config = load_config("town", set)
    if adapt:
        summary = adapt_live(Plan(domain or "night"), config, output, progress_bar)
        say_adaptation(summary.facts["adaptation"])
    else:
        summary = label_live(domain or "day", config, output, progress_bar)
    say_summary(summary, output)


def say_adaptation(facts: Mapping[str, Any]) -> None:
    table = Table("mean IoU", "seen by a camera", "all points", "2d alone", "3d alone")
    for name, branches in facts["by_branch"].items():
        cells = (facts[name], facts["all_points"][name], branches[Branch.IMAGE], branches[Branch.POINTS])
        table.add_row(name.removeprefix("miou_"), *(f"{cell:.3f}" for cell in cells))
    console.print(table)
    share = "nothing was lost" if facts["recovered"] is None else f"{facts['recovered']:.2f}"
    counts = ("promotions", "rejections", "rollbacks", "frames_dropped_by_swaps", "swap_ms")
    console.print(f"recovered: {share}, " + ", ".join(f"{name.replace('_', ' ')}: {facts[name]}" for name in counts))
