"""The weight store: inspected, rolled back, pruned, verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import PATH, app
from sam_adapt_ros.cli.console import console, make_table, say

weights_app = typer.Typer(no_args_is_help=True, help="Look into a weight store, and choose what is in use.")
app.add_typer(weights_app, name="weights", rich_help_panel="Models")

Store = Annotated[Path, typer.Argument(help="The weight store's folder.", show_default=False, **PATH)]


@weights_app.command("list")
def weights_list(store: Store) -> None:
    """List the versions, oldest first: which is in use, which was before it, which is the source model."""
    from sam_adapt_ros.adaptation import StoreReader

    reader = StoreReader(store)
    pointer = reader.pointer()
    table = make_table("version", "", "made", "from", "frames learned", "MB")
    for version in reader.versions():
        roles = [role for role in ("source", "previous", "current") if getattr(pointer, role) == version.name]
        record = version.record
        size = f"{record.size / 1e6:.1f}"
        table.add_row(version.name, ", ".join(roles), record.created, record.parent, str(record.frames), size)
    console.print(table)
    for kept in reader.rejected:
        say(f"{kept.path.name}: {kept.reason}", "rejected", "yellow")


@weights_app.command("show")
def weights_show(store: Store, version: Annotated[str, typer.Argument(help="v0007, or the whole name.")] = "") -> None:
    """Show what is recorded of a version, by default the one in use: parent, recipe, the gate's numbers."""
    from sam_adapt_ros.adaptation import StoreReader

    reader = StoreReader(store)
    shown = reader.get(version) if version else reader.current()
    say(shown.name)
    console.print_json(data=vars(shown.record))


@weights_app.command("rollback")
def weights_rollback(store: Store) -> None:
    """Put the previous version in use again; running segmenters follow."""
    from sam_adapt_ros.adaptation import WeightStore

    say(WeightStore(store).rollback("rolled back on the command line").name, "in use")


@weights_app.command("prune")
def weights_prune(
    store: Store, keep: Annotated[int, typer.Option(min=0, help="How many of the newest stay.")] = 10
) -> None:
    """Remove old versions, but never the source, the current and the previous one."""
    from sam_adapt_ros.adaptation import WeightStore

    for name in WeightStore(store).prune(keep):
        say(name, "removed")


@weights_app.command("verify")
def weights_verify(store: Store) -> None:
    """Read every file and check it against its checksum; exit code 1 when one is damaged."""
    from sam_adapt_ros.adaptation import StoreReader

    problems = StoreReader(store).verify()
    for problem in problems:
        say(problem, "damaged", "red")
    if problems:
        raise typer.Exit(1)
    say("every file is intact")
