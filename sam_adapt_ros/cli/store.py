"""The weight store: inspected, rolled back, pruned, verified; its versions given to other stores; weights as
folders for a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import PATH, Force, app, print_written
from sam_adapt_ros.cli.console import console, make_table, say

weights_app = typer.Typer(no_args_is_help=True, help="Look into a weight store, and choose what is in use.")
app.add_typer(weights_app, name="weights", rich_help_panel="Models")

Store = Annotated[Path, typer.Argument(help="The weight store's folder.", show_default=False, **PATH)]
GivenVersion = Annotated[
    str, typer.Option(help="v0007, or the whole name; the one in use by default.", show_default=False)
]


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


@weights_app.command("push")
def weights_push(
    store: Store,
    target: Annotated[Path, typer.Argument(help="The store that takes it; made where there is none.", **PATH)],
    version: GivenVersion = "",
) -> None:
    """Put the version that a store uses to use in another store; running segmenters follow.

    Example: sam-adapt weights push /fleet/store /mnt/vehicle-7/store
    """
    _transfer(store, target, version)


@weights_app.command("pull")
def weights_pull(
    store: Annotated[Path, typer.Argument(help="The store that takes it; made where there is none.", **PATH)],
    origin: Annotated[Path, typer.Argument(help="The store that has it.", show_default=False, **PATH)],
    version: GivenVersion = "",
) -> None:
    """Put the version that another store uses to use in this one; running segmenters follow."""
    _transfer(origin, store, version)


def _transfer(giver: Path, taker: Path, version: str) -> None:
    from sam_adapt_ros.adaptation.weight_store.transfer import transfer

    taken, changed = transfer(giver, taker, version)
    say(f"{taken.name} ({taker})" + ("" if changed else "; it was before"), "in use")


@weights_app.command("export")
def weights_export(
    file: Annotated[str, typer.Argument(help="A weights file, or the name of the package's.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="The folder, for a model hub.", show_default=False, **PATH)],
    summary: Annotated[
        list[Path],
        typer.Option(
            help="summary.json of an evaluation or replay by these weights, for the model card; several times for "
            "several.",
            show_default=False,
            **PATH,
        ),
    ] = [],
    config: Annotated[
        str, typer.Option("--config", "-c", help="Preset or YAML file of the vehicle, whose sensors the card names.")
    ] = "",
    name: Annotated[str, typer.Option(help="Title of the card; the file's name by default.")] = "",
    force: Force = False,
) -> None:
    """Write weights as a folder in the Hugging Face layout: config.json, model.safetensors, README.md (model card).

    Example: sam-adapt weights export out/train/weights.safetensors out/city --summary out/evaluation/summary.json
    """
    from sam_adapt_ros.config import Config, find_weights
    from sam_adapt_ros.segmentation import model_folder
    from sam_adapt_ros.segmentation.weights import load
    from sam_adapt_ros.visualization.model_card import model_card

    model_folder.check_taken(folder, force)
    path = find_weights(file)
    weights = load(path)
    card = model_card(weights, name or path.stem, summary, Config.load(config) if config else None)
    model_folder.export_folder(path, weights, folder, card)
    print_written(folder)


@weights_app.command("import")
def weights_import(
    folder: Annotated[Path, typer.Argument(help="A folder of `weights export`.", show_default=False, **PATH)],
    file: Annotated[Path, typer.Argument(help="The weights file.", show_default=False, **PATH)],
    force: Force = False,
) -> None:
    """Take the weights file out of an exported folder, bit for bit, once everything in it has been checked."""
    from sam_adapt_ros.io.outputs import prepare_file
    from sam_adapt_ros.segmentation.model_folder import import_folder

    prepare_file(file, force=force)
    weights = import_folder(folder, file)
    say(f"version {weights.version}, classes of {weights.taxonomy}: {', '.join(weights.classes)}")
    print_written(file)


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
