"""The data sets that ``training.data`` names, and bags beside them."""

from __future__ import annotations

from typing import Any

from sam_adapt_ros.config import Config, DataConfig, RecipeConfig
from sam_adapt_ros.datasets import Bags, Dataset, Selection, open_dataset
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training.frame_samples import TrainingSet


def open_sets(config: Config, role: str) -> list[TrainingSet]:
    """The sets of a role, and its bags; a target's labels are not read. Raises BagError that names the set, and
    TaxonomyError when the class set has no mapping of it."""
    training = config.training
    given = {name: each for name, each in training.data.items() if each.role == role}
    bags = {"source": training.bags, "validation": training.validation_bags}.get(role)
    if bags:
        given[f"{role}_bags"] = DataConfig(roots=bags)
    return [
        TrainingSet(
            _open(name, each, config, None if role == "target" else Taxonomy.load(config.taxonomy)),
            RecipeConfig(**each.model_dump(include=set(RecipeConfig.model_fields))),
            labelled=role != "target",
        )
        for name, each in given.items()
    ]


def _open(name: str, each: DataConfig, config: Config, taxonomy: Taxonomy | None) -> Dataset:
    selection = Selection(each.split, tuple(each.recordings), tuple(each.cameras), each.allow_missing)
    options: dict[str, Any] = {"config": config} if each.dataset == Bags.name else {}
    try:
        return open_dataset(each.dataset, each.roots, selection, taxonomy, **options)
    except BagError as error:
        raise BagError(f"training.data.{name}: {error}") from None
