"""What a benchmark does frame by frame, a shard at a time: predictions, masks, pseudo-labels, scores.

Each function is given its task, bound by ``functools.partial`` so that it is sent once a worker process, and then what
``map_shards`` gives: the places of the shard's frames, the file to leave, and the progress.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import EnhancementConfig, MaskConfig, PseudoLabelConfig, SegmenterConfig, VisibilityConfig
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import project_all
from sam_adapt_ros.geometry.visibility import visible
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.masks import MaskGenerator, SeenPoints, build
from sam_adapt_ros.masks.mask_shards import MaskShard, StoredMasks
from sam_adapt_ros.pipelines.benchmark.domains import sample_of
from sam_adapt_ros.pipelines.benchmark.frame_shards import (
    SELECTIONS,
    LabelledFrame,
    PredictedFrame,
    load_predictions,
    save_labels,
    save_predictions,
)
from sam_adapt_ros.progress import Progress
from sam_adapt_ros.pseudo_labels import PseudoLabelGenerator
from sam_adapt_ros.pseudo_labels.selection import apply_thresholds
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.batch import collate
from sam_adapt_ros.segmentation.fusion import FUSIONS, fuse
from sam_adapt_ros.segmentation.logits import infer, labels_of
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.frame_samples import TrainingSet


@dataclass(frozen=True, eq=False)
class ModelTask:
    """A model and frames. weights: its file. taxonomy: name of the class set. seen_only: it is given, as in training,
    the points alone that a camera sees."""

    data: TrainingSet
    weights: Path
    taxonomy: str
    segmenter: SegmenterConfig
    pseudo_labels: PseudoLabelConfig
    seen_only: bool

    @property
    def model(self) -> Segmenter:
        return _load(self.weights, self.weights.stat().st_mtime_ns, self.segmenter, self.taxonomy)


@lru_cache(maxsize=1)
def _load(path: Path, _modified: int, config: SegmenterConfig, taxonomy: str) -> Segmenter:
    """Once a process, which keeps the threads that its engine gave it."""
    threads = torch.get_num_threads()
    model = Segmenter.load(path, config, Taxonomy.load(taxonomy))
    torch.set_num_threads(config.threads or threads)
    return model


def predict_frames(task: ModelTask, places: range, output: Path, progress: Progress) -> None:
    """What each branch and both together predict of the frames' points."""
    model, chosen = task.model, task.pseudo_labels.selection
    generator = PseudoLabelGenerator(task.pseudo_labels, StoredMasks([], "", 1), model.fusion, len(model.taxonomy))
    selections = [chosen.model_copy(update={"branch": branch.value}) for branch in SELECTIONS]
    frames = []
    for done, place in enumerate(places):
        sample = sample_of(task.data, place, model.network.architecture, task.seen_only)
        found = generator.candidates([model.network], sample, selections)
        seen = sample.camera >= 0
        truth = np.full(len(seen), IGNORE, np.uint8) if sample.labels is None else sample.labels
        frames.append(
            PredictedFrame(
                task.data.dataset.ids[place],
                np.stack([each.labels[seen] for each in found]),
                np.stack([each.probability[seen] for each in found]),
                truth[seen],
                sample.rows[seen].astype(np.int32),
            )
        )
        progress(done + 1, len(places))
    save_predictions(output, frames)


@torch.inference_mode()
def score_frames(task: ModelTask, places: range, output: Path, progress: Progress) -> None:
    """The confusions of 2D, 3D and both, over the points that a camera sees, as in the published protocol."""
    model = task.model
    confusions = {branch: Confusion(len(model.taxonomy)) for branch in Branch}
    for done, place in enumerate(places):
        sample = sample_of(task.data, place, model.network.architecture, task.seen_only)
        if sample.labels is not None:
            logits = infer(
                model.network, collate([sample], model.network.architecture).to(model.device), model.precision
            )
            logits.check_finite(model.network)
            seen = logits.seen.cpu()
            predicted = {Branch.FUSED: fuse(model.fusion, logits).cpu()[seen]}
            if len(logits.image):
                predicted[Branch.IMAGE] = logits.probabilities()[0].cpu()
            if logits.has_points:
                predicted[Branch.POINTS] = logits.probabilities()[1].cpu()[seen]
            truth = sample.labels[seen.numpy()]
            for branch, probabilities in predicted.items():
                confusions[branch].add(truth, labels_of(probabilities))
        progress(done + 1, len(places))
    write_text(output, json.dumps({branch.value: each.counts.tolist() for branch, each in confusions.items()}))


@dataclass(frozen=True, eq=False)
class MaskTask:
    """The masks of a single generator. config: names it."""

    data: TrainingSet
    config: MaskConfig
    visibility: VisibilityConfig

    @property
    def generator(self) -> MaskGenerator:
        return _build(self.config.model_dump_json())


@lru_cache(maxsize=1)
def _build(config: str) -> MaskGenerator:
    """Once a process: a checkpoint is slow to load."""
    return build(MaskConfig.model_validate_json(config))


def make_masks(task: MaskTask, places: range, output: Path, progress: Progress) -> None:
    """The masks of the frames' views. They do not depend on labels, so that they serve all pseudo-labels."""
    shard, generator = MaskShard(task.config.generator), task.generator
    for done, place in enumerate(places):
        frame = task.data.dataset[place]
        for view, seen in zip(frame.views, seen_points(frame, task.visibility), strict=True):
            shard.add(task.data.dataset.ids[place], view, seen, generator)
        progress(done + 1, len(places))
    shard.save(output)


def seen_points(frame: Frame, visibility: VisibilityConfig) -> list[SeenPoints]:
    """Of each of the frame's views."""
    return [
        SeenPoints.of(frame.points, each, visible(each, view, visibility) if visibility.enabled else None)
        for view, each in zip(frame.views, project_all(frame.points, frame.views), strict=True)
    ]


@dataclass(frozen=True, eq=False)
class LabelTask:
    """Pseudo-labels of predictions.

    predictions, masks: folders of shards of the same names; ``masks`` one a generator. thresholds: (3, C) of each of
    ``SELECTIONS``. enhancement: None: the selected predictions as they are, for which no frame is read.
    """

    data: TrainingSet
    predictions: Path
    masks: tuple[Path, ...]
    thresholds: NDArray[np.float32]
    pseudo_labels: PseudoLabelConfig
    min_points: int
    enhancement: EnhancementConfig | None


def label_frames(task: LabelTask, places: range, output: Path, progress: Progress) -> None:
    """The selected predictions, densified by masks, with their statistics: ``labelled`` (3, C), ``confusion``
    (3, C, C + 1) and ``points``, over the points that a camera sees, and ``masks``, how many had which outcome."""
    classes = task.thresholds.shape[1]
    shards = [MaskShard.load(folder / output.name) for folder in task.masks] if task.enhancement else []
    statistics = [LabelStatistics(classes) for _ in SELECTIONS]
    outcomes = np.zeros((len(SELECTIONS), len(OUTCOMES)), np.int64)
    frames = []
    for place, predicted in zip(places, load_predictions(task.predictions / output.name), strict=True):
        labels = np.stack(
            [apply_thresholds(predicted.candidates(i), task.thresholds[i]) for i in range(len(SELECTIONS))]
        )
        if task.enhancement:
            labels = _densified(task, place, predicted, labels, shards, outcomes)
        for own, each in zip(statistics, labels, strict=True):
            own.add(each, predicted.truth)
        frames.append(LabelledFrame(predicted.id, labels, predicted.rows))
        progress(len(frames), len(places))
    counts = {
        "labelled": np.stack([each.labelled for each in statistics]),
        "confusion": np.stack([each.confusion.counts for each in statistics]),
        "points": np.array(statistics[0].points),
        "masks": outcomes,
    }
    save_labels(output, frames, counts)


OUTCOMES = ("labelled", "size", "purity", "representativity")
"""Of a mask: it was given a class, or which constraint it failed."""


def _densified(
    task: LabelTask,
    place: int,
    predicted: PredictedFrame,
    labels: NDArray[np.uint8],
    shards: list[MaskShard],
    outcomes: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """(3, P) after the masks; counts the masks' outcomes."""
    frame = task.data.dataset[place]
    seen = seen_points(frame, task.pseudo_labels.visibility)
    masks = StoredMasks(shards, predicted.id, task.min_points)
    config = task.pseudo_labels.model_copy(update={"enhancement": task.enhancement})
    generator = PseudoLabelGenerator(config, masks, FUSIONS["mean"], task.thresholds.shape[1])  # nothing is fused
    found = []
    for row, selected in enumerate(labels):
        spread = np.full(len(frame.points), IGNORE, np.uint8)
        spread[predicted.rows] = selected
        made = generator.densify(frame.views, seen, spread)
        found.append(made.labels[predicted.rows])
        reasons = Counter(
            record.reason.value if record.reason else OUTCOMES[0] for view in made.cameras for record in view.records
        )
        outcomes[row] += [reasons[name] for name in OUTCOMES]
    return np.stack(found)
