"""The models that ``bench-real`` compares on one drive, each a row of its table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sam_adapt_ros.benchmarks.adaptation import ADAPTED, NORMALIZATION, ORACLE, SOURCE, online_facts
from sam_adapt_ros.benchmarks.real_drives import Street
from sam_adapt_ros.benchmarks.students import student_of
from sam_adapt_ros.config import Config
from sam_adapt_ros.pipelines import reference_models
from sam_adapt_ros.pipelines.adaptive_replay import OnlineRun
from sam_adapt_ros.progress import Progress, part_of, track
from sam_adapt_ros.segmentation import Segmenter

SELECTION, DIRECT, GAPP = "selection", "+ MLA, direct", "+ MLA + GAPP"
PASSES = 2
"""Over the drive, by the whole product."""
ORACLE_TRAINING = reference_models.ORACLE_TRAINING.model_copy(update={"steps": 60})

Facts = dict[str, Any]


class Made(NamedTuple):
    """A model, for the judged frames of one fold; fold None: for all of them."""

    segmenter: Segmenter
    fold: int | None
    facts: Facts


Maker = Callable[[Segmenter, Config, Street, Progress], Iterator[Made]]


def _source(source: Segmenter, config: Config, street: Street, progress: Progress) -> Iterator[Made]:
    yield Made(source, None, {})


def _normalization(source: Segmenter, config: Config, street: Street, progress: Progress) -> Iterator[Made]:
    samples = reference_models.to_samples(street.judged_frames, source)
    yield Made(reference_models.batchnorm_only(source, samples, config.segmenter), None, {})


def _student(propagation: str) -> Maker:
    def make(source: Segmenter, config: Config, street: Street, progress: Progress) -> Iterator[Made]:
        config = config.updated({"pseudo_labels.enhancement.propagation": propagation})
        student, found = student_of(source, config, street.judged_frames, (), progress)
        yield Made(student, None, {"pseudo_labels": found.as_dict(source.taxonomy.classes)})

    return make


def _product(source: Segmenter, config: Config, street: Street, progress: Progress) -> Iterator[Made]:
    """As ``replay --adapt --passes 2`` does it."""
    with tempfile.TemporaryDirectory(prefix="sam_adapt_") as folder:
        run = OnlineRun(config, Path(folder) / "store")
        for number in range(PASSES):
            part = part_of(progress, number, PASSES)
            run.drive(track(street.frames, part, len(street.frames)), ends=number == PASSES - 1)
        yield Made(run.segmenter, None, online_facts(run))


def _oracle(source: Segmenter, config: Config, street: Street, progress: Progress) -> Iterator[Made]:
    """Trained with true labels; every frame is judged by the model that has not learned from its fold."""
    folds = sorted(set(street.fold))
    for place, fold in enumerate(folds):
        learned = [frame for frame, of in zip(street.judged_frames, street.fold, strict=True) if of != fold]
        samples = reference_models.to_samples(learned, source)
        part = part_of(progress, place, len(folds))
        oracle = reference_models.train_oracle(source, samples, config.segmenter, ORACLE_TRAINING, part)
        yield Made(oracle, fold, {})


MODELS: dict[str, Maker] = {
    SOURCE: _source,
    NORMALIZATION: _normalization,
    SELECTION: _student("none"),
    DIRECT: _student("direct"),
    GAPP: _student("gapp"),
    ADAPTED: _product,
    ORACLE: _oracle,
}
"""By name, in the order of the table: the source model, with re-estimated BatchNorm statistics, students of
pseudo-labels without a gate, the whole product with its gate, and the upper bound."""
STUDENTS = (SELECTION, DIRECT, GAPP)
