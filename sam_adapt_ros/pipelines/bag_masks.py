"""The masks of a bag, made in parallel ahead of the one pass that uses them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config, find_weights
from sam_adapt_ros.io.arrays import save_arrays
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.masks import build
from sam_adapt_ros.parallel import Engine, Shard, map_shards
from sam_adapt_ros.progress import Progress, no_progress, track
from sam_adapt_ros.pseudo_labels import PreparedFrame, PseudoLabelGenerator
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.fusion import FUSIONS

SWEEPS = 25
"""A task's: Segment Anything takes seconds for each, and a killed task begins anew."""


@dataclass(frozen=True)
class _Work:
    """Some sweeps of a bag. config: with a cache. labels: file of the labels selected for them, by stamp."""

    bag: Path
    config: Config
    sweeps: range
    labels: Path


def cache_masks(
    bag: Path,
    config: Config,
    sweeps: int,
    selected: Mapping[int, NDArray[np.uint8]],
    folder: Path,
    engine: Engine,
    progress: Progress = no_progress,
) -> None:
    """Fills ``config.masks.cache`` with the masks of every frame: then ``densify`` finds them all there.

    sweeps: how many the bag has. selected: (N,) labels by the frames' stamps, which ``sam_lidar`` prompts where they
    are missing. folder: for what is done of it, so that it goes on after a kill. Raises what ``map_shards`` does.
    """
    content = config.model_dump_json() + "".join(f"{stamp}{labels.sum()}" for stamp, labels in selected.items())
    parts = folder / hashlib.sha256(content.encode()).hexdigest()[:12]
    parts.mkdir(parents=True, exist_ok=True)
    labels = parts / ".labels.npz"
    save_arrays(labels, {str(stamp): each for stamp, each in selected.items()}, compress=True)
    ranges = [range(first, min(first + SWEEPS, sweeps)) for first in range(0, sweeps, SWEEPS)]
    shards = [Shard(f"sweeps-{each.start:06d}", _Work(bag, config, each, labels), len(each)) for each in ranges]
    map_shards(_cache_masks, shards, parts, engine, progress)


def _cache_masks(work: _Work, output: Path, progress: Progress) -> None:
    config = work.config
    weights = weights_files.load(find_weights(config.segmenter.weights))
    fusion = FUSIONS[config.segmenter.fusion]
    generator = PseudoLabelGenerator(config.pseudo_labels, build(config.masks), fusion, len(weights.classes))
    with (
        BagReader(work.bag, config, log=_said_by_the_driver) as reader,
        np.load(work.labels, allow_pickle=False) as selected,  # of which only some are read
    ):
        for frame in track(reader.frames(work.sweeps), progress, len(work.sweeps)):
            labels = selected.get(str(frame.stamp_ns), None)
            if labels is not None and len(labels) == len(frame.points):  # not of another sweep with this stamp
                prepared = PreparedFrame.of(frame, weights.architecture, config.pseudo_labels.visibility)
                generator.densify(frame.views, prepared.seen, labels)
    write_atomically(output, b"")


def _said_by_the_driver(notice: str) -> None:
    """Which reads the bag as well."""
