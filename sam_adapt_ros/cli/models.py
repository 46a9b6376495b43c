"""Models: trained, and compared with ground truth."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import PATH, ConfigName, Force, Overrides, Ray, Workers, app, print_written
from sam_adapt_ros.cli.configuration import AUTO, load_config
from sam_adapt_ros.cli.console import console, make_table, say
from sam_adapt_ros.cli.progress_bar import progress_bar
from sam_adapt_ros.parallel import LOCAL, choose_engine
from sam_adapt_ros.progress import no_progress


@app.command(rich_help_panel="Models")
def train(
    config: Annotated[str, typer.Argument(help="A YAML file with a training section; see config/train_town.yaml.")],
    set: Overrides = [],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    force: Force = False,
) -> None:
    """Train a segmenter on labelled bags or data sets of the source domain, and on unlabelled ones of the target.

    Several GPUs: torchrun --nproc-per-node 4 -m sam_adapt_ros.cli train my_training.yaml

    Example: sam-adapt train my_training.yaml -s training.output=out/train
    """
    from sam_adapt_ros.training.ranks import is_first_process
    from sam_adapt_ros.training.supervised import train

    first = is_first_process()
    with progress_bar("training") if first else nullcontext(no_progress) as progress:
        result = train(load_config(config, set), resume, progress, force=force)
    if first:
        print_written(result.weights)


@app.command(rich_help_panel="Models")
def evaluate(
    bags: Annotated[
        list[Path], typer.Argument(help="Bags with ground truth, or folders of them.", show_default=False, **PATH)
    ],
    config: ConfigName = AUTO,
    set: Overrides = [],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for summary.json and each bag's counts: an interrupted evaluation goes on there.",
            show_default=False,
            **PATH,
        ),
    ] = None,
    workers: Workers = None,
    ray: Ray = "",
) -> None:
    """Measure the IoU of each class by the image branch (2d), the point branch (3d) and both together (fused).

    Example: sam-adapt evaluate /data/scene-0103 -s segmenter.weights=out/train/weights.safetensors
    """
    from sam_adapt_ros.bags.clips import find_bags
    from sam_adapt_ros.evaluation.segmentation_metrics import score_text
    from sam_adapt_ros.pipelines.evaluate import evaluate_bags

    engine = choose_engine(workers, ray)
    if ray not in ("", LOCAL) and output is None:
        raise typer.BadParameter(f"--ray {ray}: needs --output, a folder on the disk that the cluster's machines share")
    bags = find_bags(bags)
    settings = load_config(config, set, bags=bags)
    result = evaluate_bags(bags, settings, progress_bar, engine, output)
    table = make_table("IoU", *result.confusion)
    for place, name in enumerate(result.taxonomy.classes):
        table.add_row(name, *(score_text(confusion.iou()[place]) for confusion in result.confusion.values()))
    table.add_section()
    table.add_row("mean", *(score_text(result.miou(key)) for key in result.confusion))
    console.print(table)
    if output is not None:
        print_written(output / "summary.json")
    say(f"measured on the {result.points} labelled points of {result.frames} frames with true labels")
