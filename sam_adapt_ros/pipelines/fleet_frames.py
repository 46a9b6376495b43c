"""Frames to learn from of several vehicles: chosen bag by bag, in parallel, then joined in one buffer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from sam_adapt_ros.adaptation import WeightStore
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.adaptation.buffer.frame_summary import color_distance
from sam_adapt_ros.bags.drive_maps import APART_M, DriveMaps
from sam_adapt_ros.config import BufferConfig, Config
from sam_adapt_ros.errors import BagError, NetworkError
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.io.whole_folder import whole_folder
from sam_adapt_ros.masks import build
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines.bag_frames import bag_frames
from sam_adapt_ros.progress import Progress
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

_SPARE = 2
"""Bags together keep so many times the frames that the round takes: which of them differ from one another is known only
when they are compared."""


@dataclass(frozen=True)
class VehicleBag:
    """A bag to choose frames of. store: the fleet's. version: of the weights in use there. alone: the only bag."""

    bag: Path
    config: Config
    store: Path
    version: str
    alone: bool


def share_of_buffer(config: BufferConfig, bags: int) -> BufferConfig:
    """The limits of one bag's frames. Which places are held out is decided for all bags together."""
    share = min(1.0, _SPARE / bags)
    return config.model_copy(
        update={
            "max_frames": max(2, round(share * config.max_frames)),
            "max_megabytes": share * config.max_megabytes,
            "held_out": 0.0,
        }
    )


def choose_frames(work: VehicleBag, output: Path, progress: Progress) -> None:
    """Leaves the bag's buffer, as the adapter of its vehicle would fill it, and ``facts.json``: a ``Function``."""
    store = WeightStore(work.store)
    taxonomy = Taxonomy.load(work.config.taxonomy)
    segmenter = Segmenter.load(store.get(work.version).path, work.config.segmenter, taxonomy)
    no_weights = work.config.masks.model_copy(update={"generator": "segments", "cache": ""})  # none are made here
    adapter = Adapter(work.config, store, generator=build(no_weights), taxonomy=taxonomy)
    summary = RunSummary(taxonomy)
    offered: Counter[str] = Counter()
    try:
        for frame, *_ in bag_frames(work.bag, work.config, summary, progress):
            admission = adapter.admit(frame.stamp_ns, frame.T_odom_lidar)
            if admission is None:
                continue  # a frame that is passed over need not be labelled
            try:
                prediction = segmenter(frame)
            except NetworkError as error:
                summary.add_failure(error, frame.stamp_ns)
                continue
            prediction.report(summary.notices)
            offered[adapter.observe(frame, prediction.labels, prediction.probability, admission)] += 1
    except BagError as error:
        if work.alone:
            raise
        summary.notices.add("bag_left_out", f"it is left out, or the rest of it: {error}")
    facts = {
        "bag": str(work.bag),
        "frames_in": summary.frames_in,
        "dropped": dict(summary.dropped),
        "unfit": dict(adapter.unfit),
        "buffer": dict(adapter.buffer.counts),
        "mean_color": adapter.buffer.training().mean_color,
        "notices": summary.notices.as_dict(),
    }
    with whole_folder(output) as folder:
        adapter.buffer.save(folder / "buffer")
        write_text(folder / "facts.json", json.dumps(facts, indent=1) + "\n")


def join_frames(folders: Sequence[Path], part: BufferConfig, joint: BufferConfig) -> tuple[FrameBuffer, list[int]]:
    """The frames of all bags within the limits of one round; of each bag, how many these are.

    Drives of different vehicles are kept apart on the map (see ``DriveMaps``), so that their sweeps do not vote on each
    other's points and none is taken for near to another.
    part, joint: limits of one bag's frames, and of all. Raises StoreError for a folder that cannot be read.
    """
    buffer, maps = FrameBuffer(joint), DriveMaps()
    bag_of: dict[int, int] = {}
    for number, folder in enumerate(folders):
        for entry in FrameBuffer.load(folder / "buffer", part).entries():
            frame = entry.frame
            shift = np.array([0.0, number * APART_M])  # of frames without odometry
            if frame.T_odom_lidar is not None:
                placed = maps.place(number, cast("Frame", frame))
                assert placed.T_odom_lidar is not None
                shift = (placed.T_odom_lidar - frame.T_odom_lidar)[:2, 3]
                frame = replace(frame, T_odom_lidar=placed.T_odom_lidar)
            traits = replace(entry.traits, position=entry.traits.position + shift)
            buffer.adopt(frame, traits)
            bag_of[id(frame)] = number
    kept = Counter(bag_of[id(entry.frame)] for entry in buffer.entries())
    return buffer, [kept[number] for number in range(len(folders))]


def join_notices(facts: Sequence[dict[str, Any]], names: Sequence[str], max_distance: float) -> Notices:
    """What the bags went without, and which are of another light than most.

    max_distance: of mean colours, see ``adaptation.rounds.scene_color_distance``; 0: of no account.
    """
    parts: dict[str, Notices] = {}
    for name, fact in zip(names, facts, strict=True):
        parts[name] = Notices(lambda _: None)
        for key, text in fact["notices"].items():
            parts[name].add(key, text)
    joined = Notices.joined(parts)
    colors = {name: np.array(fact["mean_color"]) for name, fact in zip(names, facts, strict=True) if fact["mean_color"]}
    if colors and max_distance:
        middle = np.median(list(colors.values()), axis=0)
        others = [name for name, color in colors.items() if color_distance(color, middle) > max_distance]
        if others:
            joined.add(
                "other_light",
                f"{', '.join(others)}: images of another light than most bags' (mean colours more than "
                f"{max_distance:g} apart, adaptation.rounds.scene_color_distance); one student learns from all of "
                "them, which may serve neither: adapt them apart",
            )
    return joined
