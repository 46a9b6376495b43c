"""The command line, ``sam-adapt``: a line of glue a command. Rooms are imported where used: torch is slow to load."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
import yaml
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sam_adapt_ros import __version__
from sam_adapt_ros.config import Config, load_recipe
from sam_adapt_ros.errors import SamAdaptError

if TYPE_CHECKING:
    from sam_adapt_ros.bags.writer import Version

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Camera + LiDAR semantic segmentation for ROS 2 that adapts itself to new domains.",
    pretty_exceptions_show_locals=False,
)
convert_app = typer.Typer(no_args_is_help=True, help="Turn a data set into a rosbag2 that `ros2 bag play` takes.")
app.add_typer(convert_app, name="convert")
weights_app = typer.Typer(no_args_is_help=True, help="Look into a weight store, and choose what is in use.")
app.add_typer(weights_app, name="weights")
console = Console()

Bag = Annotated[Path, typer.Argument(help="A rosbag2 folder, or a ROS 1 .bag file.", show_default=False)]
ConfigName = Annotated[
    str,
    typer.Option(
        "--config", "-c", help="A preset (town, nuscenes, kitti) or a YAML file, ROS parameter files included."
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", "-s", help="Override one parameter, for example -s segmenter.device=cpu", show_default=False),
]
Recipe = Annotated[
    str, typer.Option(help="How to learn: a file of config/recipes or a YAML file; by default as configured.")
]
Mode = Annotated[
    Literal["source_free", "with_source", "observe"] | None,
    typer.Option(help="How to adapt; observe: everything but training. By default as configured.", show_default=False),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Store = Annotated[Path, typer.Argument(help="The weight store's folder.", show_default=False)]
Storage = Annotated[Literal["mcap", "sqlite3"], typer.Option(help="rosbag2 storage plugin.")]
StorageVersion = Annotated[
    int, typer.Option("--bag-version", min=8, max=9, help="rosbag2 version: 8 for Humble, 9 for Jazzy.")
]


def main() -> None:
    """Console entry point: our own errors are one line, not a traceback."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False, show_time=False)]
    )
    try:
        app()
    except SamAdaptError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar as the callback (done, total) that the rooms take."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def load_config(name: str, overrides: list[str] | None = None, recipe: str = "") -> Config:
    values = load_recipe(recipe) if recipe else {}
    return Config.load(name, {**values, **parse_overrides(overrides or [])})


def _with_mode(overrides: list[str], mode: str | None) -> list[str]:
    return [*overrides, f"adaptation.mode={mode}"] if mode else overrides


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """``name=value`` -> dotted names and YAML values."""
    values: dict[str, Any] = {}
    for override in overrides:
        parameter, separator, value = override.partition("=")
        if not separator:
            raise typer.BadParameter(f"--set {override}: name=value expected")
        values[parameter] = yaml.safe_load(value)
    return values


@convert_app.command("nuscenes")
def convert_nuscenes(
    root: Annotated[Path, typer.Argument(help="The data set's folder, with v1.0-*, samples, sweeps, lidarseg.")],
    output: Annotated[Path, typer.Argument(help="The bag; a folder of bags for several scenes.")],
    scene: Annotated[list[str], typer.Option(help="Scene names or patterns; all by default.", show_default=False)] = [],
    sweeps: Annotated[bool, typer.Option("--sweeps", help="Also what lies between the keyframes.")] = False,
    dataset_version: Annotated[str, typer.Option(help="v1.0-mini and so on; by default the only one there.")] = "",
    storage: Storage = "mcap",
    bag_version: StorageVersion = 9,
    force: Force = False,
) -> None:
    """nuScenes (with lidarseg labels where installed) to rosbag2."""
    from sam_adapt_ros.bags import nuscenes

    with progress_bar("converting") as progress:
        bags = nuscenes.convert(
            root,
            output,
            scene,
            sweeps=sweeps,
            dataset_version=dataset_version,
            storage=storage,
            bag_version=cast("Version", bag_version),
            force=force,
            progress=progress,
        )
    _say_written(*bags)


@convert_app.command("kitti-raw")
def convert_kitti_raw(
    drive: Annotated[Path, typer.Argument(help="A drive, .../2011_09_26/2011_09_26_drive_0001_sync.")],
    output: Annotated[Path, typer.Argument(help="The bag.")],
    storage: Storage = "mcap",
    bag_version: StorageVersion = 9,
    force: Force = False,
) -> None:
    """A drive of KITTI raw to rosbag2."""
    from sam_adapt_ros.bags import kitti_raw

    with progress_bar("converting") as progress:
        bag = kitti_raw.convert(
            drive, output, storage=storage, bag_version=cast("Version", bag_version), force=force, progress=progress
        )
    _say_written(bag)


@app.command()
def info(bag: Bag, config: ConfigName = "nuscenes", set: Overrides = []) -> None:
    """What is in a bag, which of our inputs it has, and what is missing."""
    from sam_adapt_ros.bags import bag_info

    found = bag_info(bag, load_config(config, set))
    console.print(
        f"[bold]{found.path}[/]  {found.kind}, {found.size / 1e6:.1f} MB, {found.duration:.1f} s, "
        f"{found.messages} messages, {found.frames} frames"
    )
    inputs = {topic: part for part, topic, _ in found.found}
    table = Table("topic", "type", "messages", "Hz", "used as")
    for topic in found.topics:
        latched = " (latched)" if topic.transient_local else ""
        table.add_row(
            topic.name, topic.msgtype, str(topic.count), f"{topic.rate:.1f}", inputs.get(topic.name, "") + latched
        )
    console.print(table)
    for line in found.missing:
        console.print(f"[yellow]missing:[/] {line}")
    if not found.usable:
        raise typer.Exit(1)


@app.command()
def town(
    output: Annotated[Path, typer.Argument(help="The bag.")],
    domain: Annotated[str, typer.Option(help="day, night, sparse, abroad, or several joined by +.")] = "day",
    seed: Annotated[int, typer.Option(help="Another seed is another town.")] = 0,
    frames: Annotated[int, typer.Option(min=1)] = 100,
    period: Annotated[float, typer.Option(help="Seconds from frame to frame.")] = 0.2,
    storage: Storage = "mcap",
    force: Force = False,
) -> None:
    """Render a drive through the procedural town, with exact labels."""
    from sam_adapt_ros.town import render_drive

    with progress_bar("rendering") as progress:
        render_drive(domain, seed, frames, output, progress, force, storage, period)
    _say_written(output)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file with a training section; see config/train_town.yaml.")],
    set: Overrides = [],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a segmenter on labelled source bags."""
    from sam_adapt_ros.segmentation.training import train

    with progress_bar("training") as progress:
        result = train(load_config(config, set), resume, progress)
    _say_written(result.weights)


@app.command()
def evaluate(
    bags: Annotated[list[Path], typer.Argument(help="Bags with ground truth.", show_default=False)],
    config: ConfigName = "town",
    set: Overrides = [],
) -> None:
    """IoU a class of the image branch (2d), the point branch (3d) and both together (fused)."""
    from sam_adapt_ros.evaluation.evaluate import evaluate_bags

    with progress_bar("evaluating") as progress:
        result = evaluate_bags(bags, load_config(config, set), progress)
    table = Table("IoU", *result.confusion)
    for place, name in enumerate(result.taxonomy.classes):
        table.add_row(name, *(f"{100 * confusion.iou()[place]:.1f}" for confusion in result.confusion.values()))
    table.add_section()
    table.add_row("mean", *(f"{100 * result.miou(modality):.1f}" for modality in result.confusion))
    console.print(table)


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
    from sam_adapt_ros.adaptive_replay import replay_adapting
    from sam_adapt_ros.replay import replay

    with progress_bar("adapting" if adapt else "labelling") as progress:
        settings = load_config(config, _with_mode(set, mode), recipe)
        if adapt:
            summary = replay_adapting(bag, settings, output, passes=passes, force=force, progress=progress)
        else:
            summary = replay(bag, settings, output, force=force, progress=progress)
    for decision in summary.facts.get("adaptation", {}).get("decisions", ()):
        console.print(f"round: {decision['promoted'] or 'nothing'} promoted ({decision['reason']})", highlight=False)
    _say_summary(summary, output)


@app.command("pseudo-label")
def pseudo_label(
    bag: Bag,
    config: ConfigName = "nuscenes",
    output: Output = Path("out/pseudo_labels"),
    set: Overrides = [],
    force: Force = False,
) -> None:
    """Pseudo-label a bag by selection, masks, MLA and GAPP; leaves the labels as a bag, summary, pictures, report."""
    from sam_adapt_ros.evaluation.pseudo_label_report import stage_rows
    from sam_adapt_ros.pseudo_labelling import pseudo_label

    with progress_bar("pseudo-labelling") as progress:
        summary = pseudo_label(bag, load_config(config, set), output, force=force, progress=progress)
    table = Table("of the points that a camera sees, %", "coverage", "precision", "recall")
    for row in stage_rows(summary.as_dict(), "seen"):
        table.add_row(*row)
    console.print(table)
    _say_written(*(output / name for name in ("pseudo_labels", "summary.json", "pictures", "report.html")))


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
    from sam_adapt_ros.drives import town_drives
    from sam_adapt_ros.evaluation import ablation

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
    _say_written(*(output / name for name in ("ablation.csv", "ablation.json", "pictures", "report.html")))


@app.command("bench-adaptation")
def bench_adaptation(
    config: ConfigName = "town",
    set: Overrides = [],
    shifts: Annotated[str, typer.Option(help="Domains of the town.")] = "night,abroad,sparse",
    seeds: Annotated[str, typer.Option(help="Of the drives; unseen ones are 5 higher.")] = "110-112",
    frames: Annotated[int, typer.Option(min=1, help="Length of a drive.")] = 60,
    mode: Mode = None,
    recipe: Recipe = "",
    stream: Annotated[
        str,
        typer.Option(help="Instead: what happens in the long run; some of long,return,memory.", show_default=False),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file; out/bench_adaptation.json, out/bench_stream.json.")
    ] = None,
) -> None:
    """Measure what adaptation recovers of domain shifts, on unseen drives through the town."""
    from sam_adapt_ros.benchmarks import adaptation
    from sam_adapt_ros.drives import parse_seeds

    settings = load_config(config, _with_mode(set, mode), recipe)
    if stream:
        _bench_streams(settings, stream, shifts, seeds, frames, output or Path("out/bench_stream.json"))
        return
    output = output or Path("out/bench_adaptation.json")
    chosen = adaptation.Protocol(frames=frames)
    with progress_bar("adapting") as progress:
        results = adaptation.bench_adaptation(settings, shifts.split(","), parse_seeds(seeds), chosen, output, progress)
    names = ("miou_source", "miou_normalization_only", "miou_final", "miou_oracle", "recovered")
    table = Table("shift", *names, "worst change")
    for shift, row in adaptation.summarize(results).items():
        cells = (f"{row[name]:.3f} ± {row[f'{name}_spread']:.3f}" for name in names)
        table.add_row(shift, *cells, f"{row['worst_change']:+.3f}")
    console.print(table)
    _say_written(output)


@app.command("bench-recipes")
def bench_recipes(
    config: ConfigName = "town",
    set: Overrides = [],
    recipes: Annotated[str, typer.Option(help="Of config/recipes, or YAML files.")] = (
        "normalization_only,selection_only,direct,default,instances_direct,instances"
    ),
    shifts: Annotated[str, typer.Option(help="Domains of the town.")] = "night,abroad,sparse",
    seeds: Annotated[str, typer.Option(help="Of the drives; unseen ones are 5 higher.")] = "110-112",
    output: Output = Path("out/bench_recipes.json"),
) -> None:
    """Compare what recipes make of the same frames, without a gate, on unseen drives through the town."""
    from sam_adapt_ros.benchmarks import recipes as comparison
    from sam_adapt_ros.drives import parse_seeds

    chosen = {name: load_config(config, set, name) for name in recipes.split(",")}
    with progress_bar("comparing") as progress:
        rows = comparison.compare_recipes(
            load_config(config, set), chosen, shifts.split(","), parse_seeds(seeds), output=output, progress=progress
        )
    names = ("fused_seen", "gain", "gain_spread", "fused", "2d", "3d", "coverage", "precision")
    table = Table("recipe", "shift", *names)
    for recipe, by_shift in comparison.summarize(rows).items():
        for shift, row in by_shift.items():
            table.add_row(recipe, shift, *(f"{row[name]:.3f}" for name in names))
    console.print(table)
    _say_written(output)


def _bench_streams(config: Config, names: str, shifts: str, seeds: str, frames: int, output: Path) -> None:
    from sam_adapt_ros.benchmarks import stream
    from sam_adapt_ros.drives import parse_seeds

    protocol = stream.StreamProtocol(frames=frames)
    with progress_bar("driving") as progress:
        found = stream.bench_streams(
            config, names.split(","), shifts.split(","), parse_seeds(seeds), protocol, output, progress
        )
    table = Table("measured", "value", "goal")
    for row in stream.figures(found):
        table.add_row(*row)
    console.print(table)
    _say_written(output)


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
    until_played: Annotated[bool, typer.Option("--until-played", help="End when the bag does.")] = False,
) -> None:
    """Start segmenter and adapter where there is no `ros2 launch`; the same as launch/adapt.launch.py."""
    from sam_adapt_ros.nodes.run import run

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
    from sam_adapt_ros.nodes.player import play

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
    from sam_adapt_ros.demo import Plan, adapt_live, label_live

    config = load_config("town", set)
    if adapt:
        summary = adapt_live(Plan(domain or "night"), config, output, progress_bar)
        _say_adaptation(summary.facts["adaptation"])
    else:
        summary = label_live(domain or "day", config, output, progress_bar)
    _say_summary(summary, output)


@weights_app.command("list")
def weights_list(store: Store) -> None:
    """The versions, oldest first; which is in use, which comes before it, which is the source."""
    from sam_adapt_ros.adaptation import StoreReader

    reader = StoreReader(store)
    pointer = reader.pointer()
    table = Table("version", "", "made", "from", "frames learned", "MB")
    for version in reader.list():
        roles = [role for role in ("source", "previous", "current") if getattr(pointer, role) == version.name]
        record = version.record
        size = f"{record.size / 1e6:.1f}"
        table.add_row(version.name, ", ".join(roles), record.created, record.parent, str(record.frames), size)
    console.print(table)
    for kept in reader.quarantined:
        console.print(f"[yellow]set aside:[/] {kept.path.name}: {kept.reason}", highlight=False)


@weights_app.command("show")
def weights_show(store: Store, version: Annotated[str, typer.Argument(help="v0007, or the whole name.")] = "") -> None:
    """What is recorded of a version (by default the one in use): parent, recipe, the gate's numbers."""
    from sam_adapt_ros.adaptation import StoreReader

    reader = StoreReader(store)
    shown = reader.get(version) if version else reader.current()
    console.print(f"[bold]{shown.name}[/]")
    console.print_json(data=vars(shown.record))


@weights_app.command("rollback")
def weights_rollback(store: Store) -> None:
    """Put the previous version in use; running segmenters follow."""
    from sam_adapt_ros.adaptation import WeightStore

    console.print(f"in use: {WeightStore(store).rollback('rolled back by hand').name}", highlight=False)


@weights_app.command("prune")
def weights_prune(
    store: Store, keep: Annotated[int, typer.Option(min=0, help="How many of the newest stay.")] = 10
) -> None:
    """Remove old versions; never the source, the current and the previous one."""
    from sam_adapt_ros.adaptation import WeightStore

    for name in WeightStore(store).prune(keep):
        console.print(f"removed: {name}", highlight=False)


@weights_app.command("verify")
def weights_verify(store: Store) -> None:
    """Read and check every file; fails when something is damaged."""
    from sam_adapt_ros.adaptation import StoreReader

    problems = StoreReader(store).verify()
    for problem in problems:
        console.print(f"[red]{problem}[/]", highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    console.print("whole")


def _say_adaptation(facts: Mapping[str, Any]) -> None:
    table = Table("mean IoU, %", "seen by a camera", "all points", "2d alone", "3d alone")
    for name, branches in facts["by_branch"].items():
        cells = (facts[name], facts["all_points"][name], branches["2d"], branches["3d"])
        table.add_row(name.removeprefix("miou_"), *(f"{100 * cell:.1f}" for cell in cells))
    console.print(table)
    share = "nothing was lost" if facts["recovered"] is None else f"{facts['recovered']:.2f}"
    counts = ("promotions", "rejections", "rollbacks", "frames_dropped_by_swaps", "swap_ms")
    console.print(f"recovered: {share}, " + ", ".join(f"{name.replace('_', ' ')}: {facts[name]}" for name in counts))


def _say_written(*paths: Path) -> None:
    for path in paths:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)


def _say_summary(summary: Any, output: Path) -> None:
    facts = summary.as_dict()
    console.print(
        f"{facts['frames_labelled']} of {facts['frames_in']} frames labelled, dropped: {facts['dropped'] or 'none'}"
    )
    if "miou" in facts:
        console.print("mean IoU: " + ", ".join(f"{name} {100 * value:.1f}" for name, value in facts["miou"].items()))
    _say_written(*(output / name for name in ("labels", "summary.json", "pictures", "report.html")))


if __name__ == "__main__":
    main()
