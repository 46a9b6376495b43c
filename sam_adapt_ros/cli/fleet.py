"""Several vehicles: one round of learning from all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import (
    PATH,
    Bags,
    ConfigName,
    Force,
    Mode,
    Overrides,
    Ray,
    Recipe,
    Workers,
    app,
    print_written,
)
from sam_adapt_ros.cli.configuration import AUTO, load_config
from sam_adapt_ros.cli.console import console, make_table, say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.parallel import choose_engine

fleet_app = typer.Typer(no_args_is_help=True, help="Learn from the bags of several vehicles.")
app.add_typer(fleet_app, name="fleet", rich_help_panel="Models")


@fleet_app.callback()
def _group() -> None:
    """Keeps `adapt` a command of its own, though it is the only one."""


@fleet_app.command("adapt")
def fleet_adapt(
    store: Annotated[Path, typer.Argument(help="The fleet's weight store; made where there is none.", **PATH)],
    bags: Bags,
    config: ConfigName = AUTO,
    set: Overrides = [],
    recipe: Recipe = "",
    mode: Mode = None,
    summary: Annotated[
        Path, typer.Option("--summary", help="JSON file of the decision and of what each bag gave.", **PATH)
    ] = Path("out/fleet.json"),
    force: Force = False,
    workers: Workers = None,
    ray: Ray = "",
) -> None:
    """One round of learning from bags of several vehicles: one student, the same gate, one version for all of them.

    Interrupted, the same command goes on. `weights push` gives what was promoted to the vehicles' stores.

    Example: sam-adapt fleet adapt /fleet/store /data/monday --workers 4
    """
    from sam_adapt_ros.bags.clips import find_bags, readable_bags
    from sam_adapt_ros.pipelines.fleet_adapt import fleet_adapt

    engine = choose_engine(workers, ray)
    found = find_bags(bags)
    settings = load_config(config, set, recipe, mode, readable_bags(found))
    result = fleet_adapt(store, found, settings, summary, engine=engine, force=force, stages=progress_bar)
    table = make_table("bag", "sweeps", "kept", "in the round")
    for name, facts in result.bags.items():
        table.add_row(name, str(facts["frames_in"]), str(facts["buffer"].get("kept", 0)), str(facts["in_round"]))
    console.print(table)
    for notice in result.notices:
        say(notice, "warning", "yellow")
    if result.decision is None:
        say("interrupted: the same command goes on where it was")
        raise typer.Exit(1)
    say(f"round: {result.decision.promoted or 'nothing'} promoted ({result.decision.reason})")
    say(result.version.name, "in use")
    print_written(summary)
