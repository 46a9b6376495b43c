"""Data sets: sequences of frames, one module each, and one way from any of them to a bag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sam_adapt_ros.datasets.a2d2 import A2D2
from sam_adapt_ros.datasets.bag import Bags
from sam_adapt_ros.datasets.dataset import Dataset, RecordingDataset
from sam_adapt_ros.datasets.kitti_raw import KittiRaw
from sam_adapt_ros.datasets.nuscenes import NuScenes
from sam_adapt_ros.datasets.selection import Selection
from sam_adapt_ros.datasets.semantickitti import SemanticKitti
from sam_adapt_ros.datasets.to_bag import convert
from sam_adapt_ros.datasets.virtual_kitti import VirtualKitti
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

__all__ = [
    "A2D2",
    "DATASETS",
    "Bags",
    "Dataset",
    "KittiRaw",
    "NuScenes",
    "RecordingDataset",
    "Selection",
    "SemanticKitti",
    "VirtualKitti",
    "convert",
    "open_dataset",
]

DATASETS: dict[str, Callable[..., Dataset]] = {
    dataset.name: dataset for dataset in (NuScenes, SemanticKitti, A2D2, VirtualKitti, KittiRaw, Bags)
}
"""By name. Each takes the arguments of ``open_dataset`` from ``roots`` on."""


def open_dataset(
    name: str,
    roots: Sequence[str | Path],
    selection: Selection = Selection(),
    taxonomy: Taxonomy | None = None,
    notices: Notices | None = None,
    **options: Any,
) -> Dataset:
    """A data set by its name.

    roots: its folders; parts of it may be in different ones. selection: what of it is opened. taxonomy: the class set
    of the frames' ground truth; None: they have none. notices: is told what is left out, missing or guessed. options:
    that the data set alone has, see its class.

    Raises BagError that names what is missing or malformed, and TaxonomyError when the class set has no mapping of the
    data set.
    """
    if name not in DATASETS:
        raise BagError(f"data set: one of {', '.join(DATASETS)} expected, got {name!r}")
    return DATASETS[name](roots, selection, taxonomy, notices, **options)
