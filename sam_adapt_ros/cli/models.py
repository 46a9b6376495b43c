"""Models: trained, and compared with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sam_adapt_ros.cli.app import ConfigName, Overrides, app, console, load_config, say_written
from sam_adapt_ros.cli.progress_bar import progress_bar


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file with a training section; see config/train_town.yaml.")],
    set: Overrides = [],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a segmenter on labelled source bags."""
    from sam_adapt_ros.training.supervised import train

    with progress_bar("training") as progress:
        result = train(load_config(config, set), resume, progress)
    say_written(result.weights)


@app.command()
def evaluate(
    bags: Annotated[list[Path], typer.Argument(help="Bags with ground truth.", show_default=False)],
    config: ConfigName = "town",
    set: Overrides = [],
) -> None:
    """IoU a class of the image branch (2d), the point branch (3d) and both together (fused)."""
    from sam_adapt_ros.evaluation.segmentation_metrics import evaluate_bags

    with progress_bar("evaluating") as progress:
        result = evaluate_bags(bags, load_config(config, set), progress)
    table = Table("IoU", *result.confusion)
    for place, name in enumerate(result.taxonomy.classes):
        table.add_row(name, *(f"{confusion.iou()[place]:.3f}" for confusion in result.confusion.values()))
    table.add_section()
    table.add_row("mean", *(f"{result.miou(modality):.3f}" for modality in result.confusion))
    console.print(table)
