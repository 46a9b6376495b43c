"""The nodes, where there is no ROS distribution to start them; the demo."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.cli.app import Bag, ConfigName, Force, Output, Overrides, app, print_summary, print_written
from sam_adapt_ros.cli.configuration import AUTO, SIMULATED, choose_preset, load_config, parse_overrides
from sam_adapt_ros.cli.console import console, make_table, say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.nodes.launch_arguments import LaunchArguments, LogLevel, Mode, Switch, UseSimTime
from sam_adapt_ros.resources import expand_home


def launch_option(name: str) -> Any:
    """The option that describes itself as the launch argument of the same name does."""
    argument = LaunchArguments.model_fields[name]
    return typer.Option(help=argument.description, show_default=bool(argument.default), case_sensitive=False)


@app.command(rich_help_panel="Live")
def run(
    config: ConfigName = AUTO,
    set: Overrides = [],
    mode: Annotated[Mode, launch_option("mode")] = "auto",
    weights: Annotated[str, launch_option("weights")] = "",
    sam_checkpoint: Annotated[str, launch_option("sam_checkpoint")] = "",
    store: Annotated[str, launch_option("store")] = "",
    use_sim_time: Annotated[UseSimTime, launch_option("use_sim_time")] = "auto",
    namespace: Annotated[str, launch_option("namespace")] = "",
    respawn: Annotated[Switch, launch_option("respawn")] = "true",
    log_level: Annotated[LogLevel, launch_option("log_level")] = "info",
    bag: Annotated[str, launch_option("bag")] = "",
    rate: Annotated[float, typer.Option(help="Times the recorded speed.")] = 1.0,
    loop: Annotated[int, typer.Option(help="How often the bag is played; 0: forever.")] = 1,
    until_played: Annotated[
        bool,
        typer.Option("--until-played", help="End when the bag does; in mode observe, once the adapter summed it up."),
    ] = False,
) -> None:
    """Start segmenter and adapter where there is no `ros2 launch`; the same as launch/adapt.launch.py.

    Example: sam-adapt run -c nuscenes --mode observe --bag /data/scene-0061
    """
    from sam_adapt_ros.nodes.tools.launcher import run

    playing = {"--rate": rate != 1, "--loop": loop != 1, "--until-played": until_played}
    if not bag and (given := [name for name, value in playing.items() if value]):
        raise typer.BadParameter(f"{', '.join(given)}: there is no --bag to play")
    if config == AUTO:
        if not bag:
            raise typer.BadParameter("name a preset or a YAML file: there is no bag to find it from", param_hint="-c")
        config = choose_preset([Path(expand_home(bag))])
    arguments = LaunchArguments(
        params_file=config,
        mode=mode,
        weights=weights,
        sam_checkpoint=sam_checkpoint,
        store=store,
        use_sim_time=use_sim_time,
        namespace=namespace,
        bag=bag,
        respawn=respawn,
        log_level=log_level,
    )
    raise typer.Exit(run(arguments, parse_overrides(set), rate=rate, loop=loop, until_played=until_played))


@app.command(rich_help_panel="Live")
def play(
    bag: Bag,
    rate: Annotated[float, typer.Option(help="Times the recorded speed.")] = 1.0,
    loop: Annotated[int, typer.Option(help="How often; 0: forever.")] = 1,
    clock: Annotated[bool, typer.Option(help="Publish /clock.")] = True,
    topics: Annotated[list[str], typer.Option("--topic", help="Only these.", show_default=False)] = [],
    wait_for: Annotated[
        list[str], typer.Option(help="Topics that must have a subscriber first.", show_default=False)
    ] = [],
) -> None:
    """Publish a bag over DDS where there is no `ros2 bag play`."""
    from sam_adapt_ros.nodes.tools.player import play

    played = play(bag, rate=rate, loop=loop, clock=clock, topics=topics or None, wait_for=wait_for)
    say(f"{sum(played.published.values())} messages in {played.seconds:.1f} s")


@app.command(rich_help_panel="Live")
def demo(
    output: Output = Path("out/demo"),
    set: Overrides = [],
    domain: Annotated[
        str,
        typer.Option(
            help="Of the simulated town, as for the command town. By default night+other_lidar; day without adapting.",
            show_default=False,
        ),
    ] = "",
    force: Force = False,
    adapt: Annotated[bool, typer.Option("--adapt/--no-adapt", help="Adapt on the way, or only label.")] = True,
    view: Annotated[
        bool,
        typer.Option("--view", help="Show it live in Rerun (extra view); without a display, in view.rrd."),
    ] = False,
) -> None:
    """Drive the source model, trained by day, through a simulated town by night, with sensors that are new to it, live
    over DDS, while it adapts.

    Leaves a report of what adaptation gained, measured on a drive that it has not seen. It takes about ten minutes on
    two cores.
    """
    from sam_adapt_ros.pipelines.demo import DemoSettings, adapt_live, label_live
    from sam_adapt_ros.pipelines.demo_view import DemoView
    from sam_adapt_ros.pipelines.view import find_viewed
    from sam_adapt_ros.pipelines.view import view as show
    from sam_adapt_ros.visualization.rerun_view import file_or_viewer

    config = load_config(SIMULATED, set)
    file = file_or_viewer(None, output / "view.rrd") if view else None
    if adapt:
        settings = DemoSettings(domain) if domain else DemoSettings()
        opened = partial(DemoView.open, output=file) if view else None
        summary = adapt_live(settings, config, output, progress_bar, force=force, view=opened)
        _print_adaptation(summary.facts["adaptation"])
    else:
        summary = label_live(domain or "day", config, output, progress_bar, force=force)
        if view:
            show(find_viewed([output]), config, file, stages=progress_bar)
    if file is not None:
        print_written(file)
    print_summary(summary, output)


def _print_adaptation(facts: Mapping[str, Any]) -> None:
    from sam_adapt_ros.evaluation.segmentation_metrics import score_text
    from sam_adapt_ros.visualization.adaptation_report import COUNTS, DESCRIPTIONS, conclusion

    say(conclusion(facts))
    table = make_table("mean IoU", "points that a camera sees", "all points", "2d alone", "3d alone")
    for name, branches in facts["by_branch"].items():
        cells = (facts[name], facts["all_points"][name], *(branches[branch] for branch in NETWORK_BRANCHES))
        table.add_row(DESCRIPTIONS.get(name, name), *map(score_text, cells))
    console.print(table)
    share = "the domain costs no IoU" if facts["recovered"] is None else f"{facts['recovered']:.2f}"
    counts = ("promotions", "rejections", "rollbacks", "frames_dropped_by_swaps", "swap_ms")
    say(f"recovered: {share}; " + "; ".join(f"{COUNTS[name]}: {facts[name]}" for name in counts))
