"""The pseudo-labels of many bags, each on its own, in parallel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_adapt_ros.bags.fingerprint import fingerprint
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.io.whole_folder import whole_folder
from sam_adapt_ros.parallel import Engine, Shard, map_shards
from sam_adapt_ros.pipelines.bag_stream import unique_names
from sam_adapt_ros.pipelines.pseudo_label import pseudo_label
from sam_adapt_ros.progress import Progress, Stages, no_progress, no_stages, part_of
from sam_adapt_ros.segmentation import load_segmenter

_STAGES = ("predicting", "pseudo-labelling")  # those that take long


@dataclass(frozen=True)
class _Work:
    bag: Path
    config: Config


def pseudo_label_bags(
    bags: Sequence[Path],
    config: Config,
    output: Path,
    *,
    engine: Engine | None = None,
    force: bool = False,
    stages: Stages = no_stages,
) -> dict[str, dict[str, Any]]:
    """``pseudo_label`` of each bag, into a folder of the bag's name below ``output``; returns their summaries by name.

    Bags that are done stay so: interrupted, it goes on where it was. What is there of another bag of the same name is
    refused.
    Raises what ``map_shards`` and ``pseudo_label`` do, and BagError for a bag without any pseudo-label.
    """
    segmenter, _ = load_segmenter(config)  # what is wrong with the weights is said once
    names = unique_names(bags)
    shards = [Shard(name, _Work(bag, config), 100, fingerprint(bag)) for name, bag in zip(names, bags, strict=True)]
    settings = {"config": config.model_dump(mode="json"), "weights": segmenter.version}
    with stages(f"pseudo-labelling {len(bags)} bags, percent of each") as progress:
        folders = map_shards(_pseudo_label_bag, shards, output, engine, progress, settings, force)
    return {folder.name: json.loads((folder / "summary.json").read_text()) for folder in folders}


def _pseudo_label_bag(work: _Work, output: Path, progress: Progress) -> None:
    def stages(title: str) -> nullcontext[Progress]:
        known = title in _STAGES
        return nullcontext(part_of(progress, _STAGES.index(title), len(_STAGES)) if known else no_progress)

    with whole_folder(output) as folder:
        summary = pseudo_label(work.bag, work.config, folder, stages=stages)
        if summary.failure:
            raise BagError(f"{work.bag}: {summary.failure}")
