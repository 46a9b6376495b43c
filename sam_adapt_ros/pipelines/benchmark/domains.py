"""The data of a benchmark: its source and its target, their splits, and where they are on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sam_adapt_ros.config import ArchitectureConfig, Config, RecipeConfig
from sam_adapt_ros.config.benchmark import DomainConfig
from sam_adapt_ros.datasets import DATASETS, Bags, Dataset, Selection, open_dataset
from sam_adapt_ros.datasets.subset import Subset, parse_split
from sam_adapt_ros.errors import BagError, ConfigError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines.benchmark.dependencies import settings_of
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.frame_samples import TrainingSet

_MARKS = {
    "nuscenes": ("v1.0-*", "samples", "lidarseg"),
    "semantickitti": ("sequences", "dataset/sequences", "[0-9][0-9]/velodyne"),
    "a2d2": ("cams_lidars.json", "camera_lidar_semantic", "[0-9]*_[0-9]*/lidar"),
    "virtual_kitti": ("vkitti*",),
    "bag": ("metadata.yaml", "*.mcap", "*.db3", "*/metadata.yaml"),
}
"""What lies in the root of a data set and not in that of another."""


@dataclass(frozen=True, eq=False)
class Domain:
    """One domain. config: what the benchmark says of it. settings: of the benchmark, for bags' topics."""

    config: DomainConfig
    roots: tuple[Path, ...]
    settings: Config
    allow_missing: bool
    notices: Notices

    @cached_property
    def train(self) -> TrainingSet:
        """What is learned from. Raises BagError that names what is missing."""
        return self._open(self.config.train)

    @cached_property
    def test(self) -> TrainingSet:
        """What is measured on. Raises ConfigError when the benchmark has no such split, BagError."""
        if not self.config.test:
            raise ConfigError(f"benchmark: {self.config.dataset}: a test split expected")
        return self._open(self.config.test)

    def _open(self, text: str) -> TrainingSet:
        config, (split, frames) = self.config, parse_split(text)
        known = getattr(DATASETS.get(config.dataset), "splits", ())
        selection = Selection(
            split="" if split == "all" and "all" not in known else split,
            cameras=tuple(config.cameras),
            allow_missing=self.allow_missing,
        )
        taxonomy = Taxonomy.load(self.settings.taxonomy)
        own = Notices(log=lambda text: None)  # its keys are of this split alone
        dataset = self._open_dataset(selection, taxonomy, own)
        for key, notice in own.as_dict().items():
            self.notices.add(f"{config.dataset}_{text}_{key}", notice)
        if (places := range(len(dataset))[frames]) != range(len(dataset)):
            dataset = Subset(dataset, places)
        if not len(dataset):
            raise BagError(f"{config.dataset}: split {text}: no frames in {', '.join(map(str, self.roots))}")
        return TrainingSet(dataset, RecipeConfig(**{name: getattr(config, name) for name in RecipeConfig.model_fields}))

    def _open_dataset(self, selection: Selection, taxonomy: Taxonomy, notices: Notices) -> Dataset:
        more = {"config": self.settings} if self.config.dataset == Bags.name else {}  # bags' topics
        return open_dataset(self.config.dataset, self.roots, selection, taxonomy, notices, **more)


def describe(domain: Domain, data: TrainingSet, labels: bool = True) -> dict[str, Any]:
    """What results depend on of a domain's set: which frames, how they are read and become samples, and, where
    ``labels`` are looked at, which class an id is; not where they are on disk."""
    ids, config, settings = data.dataset.ids, domain.config, domain.settings
    found = {
        "dataset": config.dataset,
        "cameras": config.cameras,
        "frames": len(ids),
        "ids": _digest(ids),
        "recipe": data.recipe.model_dump(exclude_defaults=True),
    }
    mapping = getattr(DATASETS.get(config.dataset), "mapping", "")
    if config.dataset == Bags.name:
        found["bags"] = settings_of(settings, "lidar", "cameras", "transforms", "sync", "ground_truth")
        mapping = settings.ground_truth.mapping
    if labels:
        taxonomy = Taxonomy.load(settings.taxonomy)
        found["classes"] = list(taxonomy.classes)
        found["classes_by_id"] = _digest(map(str, sorted(taxonomy.mappings.get(mapping, {}).items())))
    return found


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def sample_of(data: TrainingSet, place: int, architecture: ArchitectureConfig, seen_only: bool) -> Sample:
    """A frame as it is predicted and measured: whole images; seen_only: the points that a camera sees alone."""
    sample = data.sample(place, architecture)
    return sample.only(sample.camera >= 0) if seen_only else sample


def assign_roots(given: Sequence[str], datasets: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Which root is of which of the data sets: ``NAME=ROOT`` as it says, others by what lies in them.

    Raises ConfigError for a root that could be of none or of several of them, or a data set without a root.
    """
    found: dict[str, list[Path]] = {name: [] for name in datasets}
    for text in given:
        name, equals, path = text.partition("=")
        if equals and name in found:
            found[name].append(Path(path).expanduser().absolute())
            continue
        root = Path(text).expanduser().absolute()
        fitting = [name for name in found if any(next(root.glob(mark), None) for mark in _MARKS.get(name, ()))]
        if len(found) == 1:
            fitting = list(found)
        if len(fitting) != 1:
            which = " or ".join(fitting) or f"neither {' nor '.join(found)}"
            raise ConfigError(f"--data {text}: of which data set is it ({which})? Give --data NAME={text}")
        found[fitting[0]].append(root)
    for name, roots in found.items():
        if not roots:
            raise ConfigError(f"--data: a root of the data set {name} expected, got {', '.join(given) or 'none'}")
    return {name: tuple(roots) for name, roots in found.items()}
