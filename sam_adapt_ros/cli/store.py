"""The weight store: inspected, rolled back, pruned, verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sam_adapt_ros.cli.app import app, console

weights_app = typer.Typer(no_args_is_help=True, help="Look into a weight store, and choose what is in use.")
app.add_typer(weights_app, name="weights", rich_help_panel="Models")

Store = Annotated[Path, typer.Argument(help="The weight store's folder.", show_default=False)]


@weights_app.command("list")
def weights_list(store: Store) -> None:
    """List the versions, oldest first: which is in use, which was before it, which is the source model."""
    from sam_adapt_ros.adaptation import StoreReader

    reader = StoreReader(store)
    pointer = reader.pointer()
    table = Table("version", "", "made", "from", "frames learned", "MB")
    for version in reader.versions():
        roles = [role for role in ("source", "previous", "current") if getattr(pointer, role) == version.name]
        record = version.record
        size = f"{record.size / 1e6:.1f}"
        table.add_row(version.name, ", ".join(roles), record.created, record.parent, str(record.frames), size)
    console.print(table)
    for kept in reader.rejected:
        console.print(f"[yellow]rejected:[/] {kept.path.name}: {kept.reason}", highlight=False)


@weights_app.command("show")
def weights_show(store: Store, version: Annotated[str, typer.Argument(help="v0007, or the whole name.")] = "") -> None:
    """Show what is recorded of a version, by default the one in use: parent, recipe, the gate's numbers."""
    from sam_adapt_ros.adaptation import StoreReader

    reader = StoreReader(store)
    shown = reader.get(version) if version else reader.current()
    console.print(f"[bold]{shown.name}[/]")
    console.print_json(data=vars(shown.record))


@weights_app.command("rollback")
def weights_rollback(store: Store) -> None:
    """Put the previous version in use again; running segmenters follow."""
    from sam_adapt_ros.adaptation import WeightStore

    console.print(f"in use: {WeightStore(store).rollback('rolled back on the command line').name}", highlight=False)


@weights_app.command("prune")
def weights_prune(
    store: Store, keep: Annotated[int, typer.Option(min=0, help="How many of the newest stay.")] = 10
) -> None:
    """Remove old versions, but never the source, the current and the previous one."""
    from sam_adapt_ros.adaptation import WeightStore

    for name in WeightStore(store).prune(keep):
        console.print(f"removed: {name}", highlight=False)


@weights_app.command("verify")
def weights_verify(store: Store) -> None:
    """Read every file and check it against its checksum; exit code 1 when one is damaged."""
    from sam_adapt_ros.adaptation import StoreReader

    problems = StoreReader(store).verify()
    for problem in problems:
        console.print(f"[red]{problem}[/]", highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    console.print("every file is intact")
