"""A benchmark's stages: what each is made of, what it depends on, in the order in which they are done.

    source -> xmuda -> predictions -> selection -> masks -> labels -> students -> oracle, each model with its test

Without source data (source-free) there is no xMUDA: the source model labels, and is what students start from.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from sam_adapt_ros.config import Config, EnhancementConfig, load_architecture
from sam_adapt_ros.config.benchmark import BenchmarkConfig, Setting
from sam_adapt_ros.datasets.relabelled import Relabelled
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.masks.registry import generator_names
from sam_adapt_ros.masks.sam_family import checkpoint_path
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.parallel import Engine, map_shards
from sam_adapt_ros.pipelines.benchmark import labelling
from sam_adapt_ros.pipelines.benchmark.dependencies import architecture_of, settings_of
from sam_adapt_ros.pipelines.benchmark.domains import Domain, describe
from sam_adapt_ros.pipelines.benchmark.frame_shards import FRAMES, StoredLabels, split_frames
from sam_adapt_ros.pipelines.benchmark.frame_work import MaskTask, ModelTask, make_masks, predict_frames, score_frames
from sam_adapt_ros.pipelines.benchmark.stages import Inputs, Stage
from sam_adapt_ros.pipelines.benchmark.torchrun import train_in_processes
from sam_adapt_ros.progress import Progress
from sam_adapt_ros.pseudo_labels.mask_label_assignment import UNCONSTRAINED
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.event_log import PATTERN
from sam_adapt_ros.training.frame_samples import TrainingSet
from sam_adapt_ros.training.supervised import CHECKPOINT, VALIDATION, WEIGHTS, train_sets

PREDICTIONS, SELECTION, MASKS, LABELS = "predictions", "selection", "masks", "labels"
SOURCE, XMUDA, SELECTED, STUDENT, ORACLE = "source", "xmuda", "student_selected", "student", "oracle"
TEST = "test_"
"""In front of a model's name: the stage that measures it."""
_SHARDS = "shards"


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be run.

    source: None where its model is given. overrides: dotted names -> values, for all stages. weights: of the source
    model, where it is given. ablate: also each mask constraint left out, and direct propagation; students: and students
    of these pseudo-labels.
    """

    config: BenchmarkConfig
    setting: Setting
    source: Domain | None
    target: Domain
    overrides: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    ablate: bool = False
    students: bool = False
    engine: Engine | None = None
    notices: Notices = field(default_factory=Notices)
    frames_a_shard: int = FRAMES

    @property
    def labeller(self) -> str:
        """The model whose predictions are selected."""
        return XMUDA if self.setting == "uda" else SOURCE

    @property
    def models(self) -> list[str]:
        """In the order of the table."""
        ablated = [f"{STUDENT}_{name}" for name in self.variants] if self.students else []
        return [SOURCE, *([XMUDA] if self.setting == "uda" else []), SELECTED, STUDENT, *ablated, ORACLE]

    @property
    def variants(self) -> dict[str, EnhancementConfig]:
        """The ablation's, by name: each constraint left out, and direct propagation."""
        full = self.settings(LABELS).pseudo_labels.enhancement
        if not self.ablate:
            return {}
        found = {f"without_{each.value}": full.model_copy(update=update) for each, update in UNCONSTRAINED.items()}
        return {"direct": full.model_copy(update={"propagation": "direct"}), **found}

    def settings(self, stage: str) -> Config:
        """Raises ConfigError that names what does not fit."""
        return self.config.settings_of(stage, self.setting, dict(self.overrides))

    def stages(self) -> list[Stage]:
        """In order."""
        return [
            *self._model(SOURCE),
            *(self._model(XMUDA) if self.setting == "uda" else []),
            self._predictions(),
            self._labels(SELECTION, "selecting pseudo-labels", None),
            *self._model(SELECTED),
            self._masks(),
            self._labels(LABELS, "densifying pseudo-labels", self.settings(LABELS).pseudo_labels.enhancement),
            *self._model(STUDENT),
            *self._ablation(),
            *self._model(ORACLE),
        ]

    def _ablation(self) -> list[Stage]:
        found = []
        for name, enhancement in self.variants.items():
            found.append(self._labels(f"{LABELS}_{name}", f"densifying pseudo-labels, {name}", enhancement))
            if self.students:
                found += self._model(f"{STUDENT}_{name}")
        return found

    # Models ----------------------------------------------------------------------------------------------------------

    def _model(self, name: str) -> list[Stage]:
        """A model and its test."""
        return [self._training(name), self._test(name)]

    def _training(self, name: str) -> Stage:
        if name == SOURCE and self.weights:
            version = self._given_weights(self.weights)
            return Stage(name, "taking the source model", self._adopt, {"version": version}, exempt=(WEIGHTS,))
        config = self.settings(_settings_name(name))
        needs = tuple(each for each in (self._labels_of(name), self._initial(name)) if each)
        settings = {**settings_of(config, "training", "fabric.precision"), "architecture": architecture_of(config)}
        settings["data"] = {
            role: describe(self._domain_of(each), each)
            for role, sets in self._data(name, None).items()
            for each in sets
        }
        settings["labels"] = self._by_branch(name)
        return Stage(
            name, f"training: {name}", partial(self._train, name, config), settings, needs,
            scratch=(CHECKPOINT, VALIDATION), logs=(PATTERN,), exempt=(WEIGHTS,),
        )  # fmt: skip

    def _labels_of(self, name: str) -> str:
        """The stage whose pseudo-labels a model learns from; "": none."""
        if name == SELECTED:
            return SELECTION
        return name.replace(STUDENT, LABELS, 1) if name.startswith(STUDENT) else ""

    def _initial(self, name: str) -> str:
        """The model that it starts from; "": none."""
        return SOURCE if self.setting == "source_free" and name.startswith(STUDENT) else ""

    def _by_branch(self, name: str) -> bool:
        return bool(self._labels_of(name)) and self.config.student_labels.get(self.setting, "branches") == "branches"

    def _data(self, name: str, labels: Path | None) -> dict[str, list[TrainingSet]]:
        """The sets that a model learns from, by role. labels: folder of the pseudo-labels; None: only described."""
        source = [] if self.source is None or self.setting == "source_free" else [self.source.train]
        target = self.target.train
        if name == SOURCE:
            return {"source": [self.source.train] if self.source else []}
        if name == XMUDA:
            return {"source": source, "target": [TrainingSet(target.dataset, target.recipe, labelled=False)]}
        if name == ORACLE:
            both = self.config.oracle_with_source and bool(source)
            return {"source": source, "target": [target]} if both else {"source": [target]}
        if labels is not None:
            ids = tuple(target.dataset.ids)
            stored = StoredLabels(labels, ids, self._by_branch(name), self.frames_a_shard)
            target = TrainingSet(Relabelled(target.dataset, stored), target.recipe)
        return {"source": source, "target": [target]}

    def _domain_of(self, data: TrainingSet) -> Domain:
        source = self.source
        return source if source is not None and data.dataset is source.train.dataset else self.target

    def _train(self, name: str, config: Config, folder: Path, inputs: Inputs, progress: Progress) -> dict[str, Any]:
        folders = {each: done.folder for each, done in inputs.items()}
        if config.fabric.devices > 1:
            train_in_processes(self.request(), name, folder, folders, config.fabric.devices)
        else:
            self.train(name, folder, folders, progress)
        return {"version": weights_files.load(folder / WEIGHTS).version, "iterations": config.training.iterations}

    def train(
        self, name: str, folder: Path, inputs: Mapping[str, Path], progress: Progress, devices: int | None = None
    ) -> None:
        """Trains a model into its folder, or goes on with it. inputs: folders of the stages that it needs. devices:
        instead of the configured ones. Raises what training raises."""
        labels, initial = self._labels_of(name), self._initial(name)
        values = {
            "training.output": str(folder),
            "training.initial_weights": str(inputs[initial] / WEIGHTS) if initial else "",
        }
        config = self.settings(_settings_name(name)).updated(values)
        if devices is not None:
            config = config.updated({"fabric.devices": devices})
        data = self._data(name, inputs[labels] / _SHARDS if labels else None)
        train_sets(config, data["source"], data.get("target", ()), resume=True, progress=progress)

    def request(self) -> dict[str, Any]:
        """The arguments of ``make_plan`` that another process makes the same models by, as JSON can hold them."""
        return {
            "config": self.config.model_dump(),
            "setting": self.setting,
            "data": [f"{each.config.dataset}={root}" for each in self._domains for root in each.roots],
            "overrides": dict(self.overrides),
            "weights": None if self.weights is None else str(self.weights.absolute()),
            "allow_missing": self.target.allow_missing,
            "ablate": self.ablate,
            "students": self.students,
            "frames_a_shard": self.frames_a_shard,
        }

    @property
    def _domains(self) -> list[Domain]:
        """Each data set once."""
        return list({each.config.dataset: each for each in (self.source, self.target) if each is not None}.values())

    def _given_weights(self, path: Path) -> str:
        """The version of the source model that was given.

        Raises WeightsError when it is of other classes, or of another network than students are to start from.
        """
        config, loaded = self.settings(SOURCE), weights_files.load(path)
        weights_files.check_taxonomy(path, loaded, Taxonomy.load(config.taxonomy))
        architecture = load_architecture(config.training.architecture)
        weights_files.check_architecture(path, loaded.architecture, architecture)
        return loaded.version

    def _adopt(self, folder: Path, inputs: Inputs, progress: Progress) -> dict[str, Any]:
        """The source model that was given."""
        assert self.weights is not None
        shutil.copyfile(self.weights, folder / WEIGHTS)
        return {"version": weights_files.load(folder / WEIGHTS).version, "iterations": None}

    def _test(self, model: str) -> Stage:
        config, data = self.settings(_settings_name(model)), self.target.test
        settings = {
            "data": describe(self.target, data),
            "fusion": config.segmenter.fusion,
            "precision": config.segmenter.precision,
            "points": config.training.points,
        }
        make = partial(self._score, model, data, config)
        return Stage(f"{TEST}{model}", f"testing: {model}", make, settings, (model,))

    def _score(
        self, model: str, data: TrainingSet, config: Config, folder: Path, inputs: Inputs, progress: Progress
    ) -> dict[str, Any]:
        task = self._task(data, inputs[model].folder, config)
        paths = self._map(partial(score_frames, task), len(data.dataset), folder, progress)
        return {"frames": len(data.dataset), **labelling.sum_confusions(paths)}

    def _task(self, data: TrainingSet, model: Path, config: Config) -> ModelTask:
        seen_only = config.training.points == "seen"
        return ModelTask(data, model / WEIGHTS, config.taxonomy, config.segmenter, config.pseudo_labels, seen_only)

    # Pseudo-labels ---------------------------------------------------------------------------------------------------

    def _predictions(self) -> Stage:
        config, data = self.settings(PREDICTIONS), self.target.train
        settings = {
            "data": describe(self.target, data),
            "points": config.training.points,
            "fusion": config.segmenter.fusion,
            "require_agreement": config.pseudo_labels.selection.require_agreement,
        }

        def make(folder: Path, inputs: Inputs, progress: Progress) -> dict[str, Any]:
            task = self._task(data, inputs[self.labeller].folder, config)
            self._map(partial(predict_frames, task), len(data.dataset), folder, progress)
            return {"frames": len(data.dataset)}

        return Stage(PREDICTIONS, "predicting the target", make, settings, (self.labeller,))

    def _masks(self) -> Stage:
        config, data = self.settings(MASKS), self.target.train
        names = generator_names(config.masks)
        settings = settings_of(config, "masks", "pseudo_labels.visibility")
        settings["data"] = describe(self.target, data, labels=False)
        if any(name.startswith("sam") for name in names):
            settings["checkpoint"] = hash_file(Path(config.masks.sam.checkpoint)) if config.masks.sam.checkpoint else ""

        def make(folder: Path, inputs: Inputs, progress: Progress) -> dict[str, Any]:
            for place, name in enumerate(names):
                masks = config.masks.model_copy(update={"generator": name, "cache": ""})
                task = MaskTask(data, masks, config.pseudo_labels.visibility)
                part = lambda done, total, place=place: progress(place * total + done, len(names) * total)  # noqa: E731
                self._map(partial(make_masks, task), len(data.dataset), folder / name, part)
            return {"frames": len(data.dataset), "generators": names, "min_points": config.masks.min_points}

        return Stage(MASKS, "making masks", make, settings)

    def check_masks(self) -> None:
        """Raises MaskError where masks would want a checkpoint that is not given, long after the work has begun."""
        config = self.settings(MASKS).masks
        if any(name.startswith("sam") for name in generator_names(config)):
            checkpoint_path(config.sam)

    def _labels(self, name: str, title: str, enhancement: EnhancementConfig | None) -> Stage:
        config, data = self.settings(name), self.target.train
        if config.pseudo_labels.voting_cell:
            raise ConfigError(
                "pseudo_labels.voting_cell: 0 expected: a benchmark's sweeps do not vote, since as published each is "
                f"labelled by itself, got {config.pseudo_labels.voting_cell:g}"
            )
        settings = settings_of(config, "pseudo_labels.selection", "pseudo_labels.visibility")
        settings["enhancement"] = None if enhancement is None else enhancement.model_dump()
        needs = (PREDICTIONS,) if enhancement is None else (PREDICTIONS, SELECTION, MASKS)

        def make(folder: Path, inputs: Inputs, progress: Progress) -> dict[str, Any]:
            predictions = inputs[PREDICTIONS].folder / _SHARDS
            task = labelling.label_task(
                data, predictions, inputs.get(SELECTION), inputs.get(MASKS), config, enhancement
            )
            run = partial(labelling.label_frames, task)
            paths = self._map(run, len(data.dataset), folder, progress, gpu=False)
            facts = labelling.describe_labels(paths, Taxonomy.load(config.taxonomy).classes)
            return {"thresholds": task.thresholds, **facts}

        return Stage(name, title, make, settings, needs)

    def _map(self, function: Any, frames: int, folder: Path, progress: Progress, gpu: bool = True) -> list[Path]:
        shards = [replace(shard, gpu=gpu) for shard in split_frames(frames, self.frames_a_shard)]
        return map_shards(function, shards, folder / _SHARDS, self.engine, progress)


def _settings_name(model: str) -> str:
    """Whose settings a model has: the ablation's students those of the student."""
    return STUDENT if model.startswith(STUDENT) and model != SELECTED else model
