"""Pseudo-labels of a whole data set: thresholds, labels shard by shard, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config, EnhancementConfig
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.pipelines.benchmark.frame_shards import SELECTIONS, load_counts, load_predictions
from sam_adapt_ros.pipelines.benchmark.frame_work import OUTCOMES, LabelTask, label_frames
from sam_adapt_ros.pipelines.benchmark.stages import Done
from sam_adapt_ros.pseudo_labels.selection import Candidates, streamed_thresholds
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.frame_samples import TrainingSet

__all__ = ["describe_labels", "label_frames", "label_task", "sum_confusions"]


def label_task(
    data: TrainingSet,
    predictions: Path,
    selection: Done | None,
    masks: Done | None,
    config: Config,
    enhancement: EnhancementConfig | None,
) -> LabelTask:
    """What ``label_frames`` needs. selection: the stage that has the thresholds already; None: they are computed from
    all predictions.
    """
    if selection is None:
        paths = sorted(predictions.glob("[0-9]*.npz"))
        classes, how = len(Taxonomy.load(config.taxonomy)), config.pseudo_labels.selection
        found = [
            streamed_thresholds(partial(_candidates, paths, place), classes, how) for place in range(len(SELECTIONS))
        ]
    else:
        found = selection.facts["thresholds"]
    thresholds = np.array(found, np.float32)
    folders = () if masks is None else tuple(masks.folder / name / "shards" for name in masks.facts["generators"])
    least = 1 if masks is None else int(masks.facts["min_points"])
    return LabelTask(data, predictions, folders, thresholds, config.pseudo_labels, least, enhancement)


def _candidates(paths: Iterable[Path], selection: int) -> Iterator[Candidates]:
    for path in paths:
        for frame in load_predictions(path):
            yield frame.candidates(selection)


def describe_labels(paths: Sequence[Path], classes: tuple[str, ...]) -> dict[str, Any]:
    """Of shards of ``label_frames``: statistics by selection, classes without any label, outcomes of the masks."""
    counts = [load_counts(path) for path in paths]
    total = {name: np.sum([each[name] for each in counts], axis=0) for name in counts[0]}
    facts: dict[str, Any] = {"selections": {}, "empty": {}, "masks": {}}
    for place, branch in enumerate(SELECTIONS):
        statistics = LabelStatistics(len(classes))
        statistics.points = int(total["points"])
        statistics.labelled = total["labelled"][place]
        statistics.confusion.counts = total["confusion"][place]
        facts["selections"][branch.value] = statistics.as_dict(classes)
        facts["empty"][branch.value] = [name for name, n in zip(classes, statistics.labelled, strict=True) if not n]
        facts["masks"][branch.value] = dict(zip(OUTCOMES, total["masks"][place].tolist(), strict=True))
    return facts


def sum_confusions(paths: Sequence[Path]) -> dict[str, Any]:
    """Of shards of ``score_frames``: (C, C + 1) counts by branch."""
    found = [json.loads(path.read_bytes()) for path in paths]
    return {"confusion": {branch.value: np.sum([each[branch.value] for each in found], axis=0) for branch in Branch}}
