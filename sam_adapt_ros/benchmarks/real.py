"""Adaptation on labelled real drives, from a model that has seen nothing like them: ``bench-real``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_adapt_ros.benchmarks.real_drives import CITIES, Street, folder_of
from sam_adapt_ros.benchmarks.real_models import MODELS
from sam_adapt_ros.benchmarks.real_tables import CityTable, ModelCounts
from sam_adapt_ros.benchmarks.unseen_drives import KEYS, model_settings, one_thread
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation
from sam_adapt_ros.io.arrays import load_arrays, save_arrays
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.parallel import Shard, choose_engine, map_shards
from sam_adapt_ros.progress import Progress, Stages, no_stages, track
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.visualization.pictures import camera_overlay, legend, mosaic, save_image, titled

WIDTH = 1800  # pixels, of three panels
PICTURED = (1 / 6, 1 / 2, 5 / 6)
"""Of the judged frames, by their place in the drive."""
RESULTS, TABLE, PICTURES = "results.json", "table.md", "pictures"


@dataclass(frozen=True)
class _Task:
    """One row of one city's table, for a worker process."""

    config: Config
    city: str
    folder: Path
    model: str


def bench_real(
    config: Config,
    data: Path,
    output: Path,
    cities: Sequence[str] = tuple(CITIES),
    jobs: int = 1,
    stages: Stages = no_stages,
    *,
    force: bool = False,
) -> list[CityTable]:
    """Measures every model on every city; the class set is that of the weights.

    data: a folder with ``semantickitti`` and ``pandaset_002``. output: a folder; rows that it has are not measured
    again. jobs: processes. Raises BagError when a drive is missing, TaxonomyError when the class set has no mapping of
    it, OutputError where the folder has results of other settings, which ``force`` replaces.
    """
    segmenter, config = load_segmenter(one_thread(config.updated({"taxonomy": ""})))
    tasks = [_Task(config, city, folder_of(city, data), model) for city in cities for model in MODELS]
    numbers = {model: number for number, model in enumerate(MODELS)}
    shards = [Shard(f"{task.city}-{numbers[task.model]}.npz", task, 100) for task in tasks]
    recipe = config.model_dump(mode="json", include={"masks", "pseudo_labels", "adaptation"})
    settings = {**model_settings(config), "recipe": recipe}
    with stages(f"{len(tasks)} models on {len(cities)} drives") as progress:
        paths = map_shards(_measure, shards, output / "parts", choose_engine(jobs), progress, settings, force)
    tables = []
    for city in cities:
        found = {}
        for task, path in zip(tasks, paths, strict=True):
            if task.city == city:
                arrays, facts = load_arrays(path)
                found[task.model] = ModelCounts({key: arrays[key] for key in KEYS}, facts)
                block = arrays["block"]
        tables.append(CityTable(CITIES[city], segmenter.taxonomy, found, block.tolist()))
        with stages(f"{CITIES[city].title}: drawing") as progress:
            _draw(tasks, paths, city, segmenter, output / PICTURES, progress)
    facts = {"settings": settings, "cities": {table.city.name: table.as_dict() for table in tables}}
    write_text(output / RESULTS, json.dumps(json_values(facts), indent=1) + "\n")
    write_text(output / TABLE, "\n".join(table.markdown() for table in tables))
    return tables


def _measure(task: _Task, output: Path, progress: Progress) -> None:
    """Leaves the counts of every judged frame, and the labels of those that are pictured."""
    source, config = load_segmenter(task.config)
    street = CITIES[task.city].read(task.folder, source.taxonomy)
    frames = street.judged_frames
    counts: dict[str, list[Any]] = {key: [None] * len(frames) for key in KEYS}
    labels: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for made in MODELS[task.model](source, config, street, progress):  # judging takes seconds
        facts |= made.facts
        mine = [place for place, fold in enumerate(street.fold) if made.fold in (None, fold)]
        for place in mine:
            evaluation = Evaluation(source.taxonomy)
            prediction = made.segmenter(frames[place])
            evaluation.add(frames[place], prediction)
            for key in KEYS:
                counts[key][place] = evaluation.confusion[key].counts
            if place in _pictured(len(frames)):
                labels[f"labels_{place}"] = prediction.by_branch()[Branch.FUSED]
    arrays = {key: np.stack(of) for key, of in counts.items()} | labels | {"block": np.array(street.block)}
    save_arrays(output, arrays, json_values(facts), compress=True)


def _pictured(frames: int) -> list[int]:
    return [int(share * frames) for share in PICTURED]


def _draw(
    tasks: Sequence[_Task], paths: Sequence[Path], city: str, segmenter: Segmenter, folder: Path, progress: Progress
) -> None:
    """A picture of each pictured frame: its labels by every model, and the true ones."""
    mine = [(task, path) for task, path in zip(tasks, paths, strict=True) if task.city == city]
    street: Street = CITIES[city].read(mine[0][0].folder, segmenter.taxonomy)
    labels = {task.model: load_arrays(path)[0] for task, path in mine}
    places = _pictured(len(street.judged))
    for place in track(places, progress, len(places)):
        frame = street.judged_frames[place]
        view = frame.views[0]
        shown = {model: of[f"labels_{place}"] for model, of in labels.items()}
        if frame.ground_truth is not None:
            shown["ground truth"] = frame.ground_truth
        panels = {model: camera_overlay(frame, view, each, segmenter.taxonomy) for model, each in shown.items()}
        panels["image"] = view.image
        # Scaled before they get their titles, which stay legible over large images.
        scaled = [titled(mosaic([panel], 1, WIDTH // 3), title) for title, panel in panels.items()]
        picture = mosaic(scaled, 3, WIDTH)
        save_image(np.vstack([picture, legend(segmenter.taxonomy, WIDTH)]), folder / f"{city}_{place}.jpg")
