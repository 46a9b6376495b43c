"""Bags: converted from data sets, inspected, rendered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from sam_adapt_ros.cli.app import PATH, Bag, ConfigName, Force, Overrides, Ray, Workers, app, print_written
from sam_adapt_ros.cli.configuration import AUTO, choose_preset, ground_truth_mismatch, load_config
from sam_adapt_ros.cli.console import console, make_table, say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.io.outputs import prepare_folder
from sam_adapt_ros.parallel import choose_engine

if TYPE_CHECKING:
    from sam_adapt_ros.bags import Version

Storage = Annotated[Literal["mcap", "sqlite3"], typer.Option(help="rosbag2 storage plugin.")]
StorageVersion = Annotated[
    int, typer.Option("--bag-version", min=8, max=9, help="rosbag2 version: 8 for Humble, 9 for Jazzy.")
]


@app.command(rich_help_panel="Bags")
def convert(
    dataset: Annotated[str, typer.Argument(help="nuscenes, semantickitti, a2d2, virtual-kitti or kitti-raw.")],
    root: Annotated[Path, typer.Argument(help="The data set's folder; of kitti-raw also a drive (…_sync).", **PATH)],
    output: Annotated[Path, typer.Argument(help="The bag; a folder of bags for several recordings.", **PATH)],
    scene: Annotated[
        list[str],
        typer.Option("--scene", "--sequence", help="Names or patterns; all by default.", show_default=False),
    ] = [],
    split: Annotated[str, typer.Option(help="A split of the data set, for example val.", show_default=False)] = "",
    camera: Annotated[
        list[str], typer.Option(help="Cameras, for example CAM_FRONT; all by default.", show_default=False)
    ] = [],
    other_root: Annotated[
        list[Path], typer.Option("--root", help="Further folders with parts of it.", show_default=False, **PATH)
    ] = [],
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out what of a split is not on disk, instead of refusing.")
    ] = False,
    sweeps: Annotated[
        bool,
        typer.Option("--sweeps", help="nuscenes: also the files between the keyframes, 20 Hz sweeps and 12 Hz images."),
    ] = False,
    dataset_version: Annotated[
        str, typer.Option(help="nuscenes: for example v1.0-mini; needed where several are installed.")
    ] = "",
    storage: Storage = "mcap",
    bag_version: StorageVersion = 9,
    force: Force = False,
    workers: Workers = None,
    ray: Ray = "",
) -> None:
    """Convert a data set to rosbag2, one bag a recording, with its labels where it has any. Images stay as they are.

    Example: sam-adapt convert nuscenes /data/nuscenes /data/scene-0061 --sweeps --scene scene-0061
    """
    from sam_adapt_ros.datasets import RecordingDataset, Selection, open_dataset
    from sam_adapt_ros.datasets import convert as write_bags

    options: dict[str, Any] = {"sweeps": sweeps, "version": dataset_version}
    options = {name: value for name, value in options.items() if value}
    if dataset == "bag":
        raise ConfigError(f"{root}: is a bag already")
    if options and dataset != "nuscenes":
        raise ConfigError(f"--sweeps, --dataset-version: options of nuscenes, not of {dataset}")
    engine = choose_engine(workers, ray)
    selection = Selection(split, tuple(scene), tuple(camera), allow_missing)
    prepare_folder(output.absolute().parent, force=True)
    opened = open_dataset(dataset.replace("-", "_"), [root, *other_root], selection, **options)
    assert isinstance(opened, RecordingDataset)
    with progress_bar("converting, bytes") as progress:
        bags = write_bags(
            opened,
            output,
            storage=storage,
            bag_version=cast("Version", bag_version),
            force=force,
            progress=progress,
            engine=engine,
        )
    print_written(*bags)


@app.command(rich_help_panel="Bags")
def info(bag: Bag, config: ConfigName = AUTO, set: Overrides = []) -> None:
    """Show the topics of a bag, which of them are used as inputs, and which inputs are missing.

    Example: sam-adapt info /data/scene-0061
    """
    from sam_adapt_ros.bags import bag_info

    settings = load_config(choose_preset([bag]) if config == AUTO else config, set)
    found = bag_info(bag, settings)
    say(
        f"{found.path}  {found.kind}, {found.size / 1e6:.1f} MB, {found.duration:.1f} s, "
        f"{found.messages} messages, {found.frames} frames"
    )
    inputs = {topic: part for part, topic, _ in found.found}
    table = make_table("topic", "type", "messages", "Hz", "used as")
    for topic in found.topics:
        latched = " (latched)" if topic.transient_local else ""
        table.add_row(
            topic.name,
            topic.msgtype,
            str(topic.count),
            f"{found.rate(topic):.1f}",
            inputs.get(topic.name, "") + latched,
        )
    console.print(table)
    for line in found.missing:
        say(line, "missing", "yellow")
    for line in found.notices:
        say(line, "warning", "yellow")
    if mismatch := ground_truth_mismatch(settings, {topic.name for topic in found.topics}):
        say(mismatch, "warning", "yellow")
    if not found.usable:
        raise typer.Exit(1)


@app.command(rich_help_panel="Bags")
def town(
    output: Annotated[Path, typer.Argument(help="The bag, or the data set's folder.", **PATH)],
    domain: Annotated[
        str,
        typer.Option(help="day, varied, or shifts, joined by +: night, new_city, other_lidar, rain, miscalibrated."),
    ] = "day",
    seed: Annotated[int, typer.Option(help="Another seed is another town.")] = 0,
    drives: Annotated[
        int, typer.Option(min=1, help="More than one: a folder of bags, of the seed and those that follow it.")
    ] = 1,
    frames: Annotated[int, typer.Option(min=1, help="Length of each drive.")] = 100,
    period: Annotated[float, typer.Option(help="Seconds from frame to frame.")] = 0.2,
    layout: Annotated[
        Literal["bag", "nuscenes", "semantickitti", "a2d2", "virtual_kitti"],
        typer.Option(help="A data set's: drives for all of its splits, in domains of their own, as it is on disk."),
    ] = "bag",
    storage: Storage = "mcap",
    force: Force = False,
) -> None:
    """Render a drive through a simulated town, with exact labels.

    Example: sam-adapt town /tmp/drive --frames 12 --domain night; sam-adapt town /tmp/a2d2 --layout a2d2 --frames 4
    """
    from sam_adapt_ros.pipelines.simulated_drives import render_drives
    from sam_adapt_ros.simulation import render_drive

    prepare_folder(output.absolute().parent, force=True)
    with progress_bar("rendering") as progress:
        if layout == "bag" and drives > 1:
            render_drives(domain, range(seed, seed + drives), frames, output, progress, force, storage, period)
        elif layout == "bag":
            render_drive(domain, seed, frames, output, progress, force, storage, period)
        else:
            from sam_adapt_ros.pipelines.layouts import write_layout

            write_layout(layout, output, frames, seed, force, progress)
    print_written(output)
