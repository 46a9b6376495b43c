"""One round of learning from the bags of several vehicles: one student, one gate, one version for all of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_adapt_ros.adaptation import Version, WeightStore
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.bags.fingerprint import fingerprint
from sam_adapt_ros.config import Config, find_weights
from sam_adapt_ros.errors import BagError, StoreError
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.lock import alone
from sam_adapt_ros.io.outputs import prepare_file, write_text
from sam_adapt_ros.io.store_errors import store_errors
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.parallel import Engine, Shard, map_shards
from sam_adapt_ros.pipelines.bag_frames import cancelled_by_interrupt
from sam_adapt_ros.pipelines.bag_stream import unique_names
from sam_adapt_ros.pipelines.fleet_frames import VehicleBag, choose_frames, join_frames, join_notices, share_of_buffer
from sam_adapt_ros.progress import Stages, no_stages
from sam_adapt_ros.segmentation import load_segmenter

_WORK = "fleet"  # in the store's folder: the frames and the round that was begun, until it is decided


@dataclass(frozen=True)
class FleetRound:
    """decision: the gate's; None when the round was interrupted. version: in use afterwards. notices: what the bags
    went without. bags: by name, what became of each one's frames."""

    decision: Decision | None
    version: Version
    notices: Notices
    bags: dict[str, dict[str, Any]]


def fleet_adapt(
    store: Path,
    bags: Sequence[Path],
    config: Config,
    summary: Path,
    *,
    engine: Engine | None = None,
    force: bool = False,
    stages: Stages = no_stages,
) -> FleetRound:
    """Learns from all bags together, and promotes in the store what the gate lets through.

    Interrupted or killed, the same call goes on with what was done: frames chosen bag by bag, pseudo-labels, steps of
    training. ``summary`` is a JSON file of the decision and the bags. One fleet at a time adapts a store.

    store: folder; begun with ``segmenter.weights`` where it is none. engine: chooses the frames, see ``map_shards``.
    Raises StoreError where the store is of another source model, or another fleet is at work on it, BagError where the
    frames are too few, OutputError, WeightsError, MaskError.
    """
    prepare_file(summary, force=force)
    weights = WeightStore(store)
    weights.initialize(find_weights(config.segmenter.weights))
    with store_errors(weights.folder):
        (weights.folder / _WORK).mkdir(exist_ok=True)
    other = StoreError("locked", f"{store}: another fleet is adapting this store; wait for it, or take another store")
    with alone(weights.folder / _WORK / ".lock", other):
        current = weights.current()
        source, config = load_segmenter(config)
        names, work = unique_names(bags), _work_folder(weights, config, current, len(bags))
        folders = _choose_frames(weights, bags, names, config, current, work / "frames", engine, stages)
        facts = [json.loads((folder / "facts.json").read_text()) for folder in folders]
        notices = join_notices(facts, names, config.adaptation.rounds.scene_color_distance)
        round_folder = work / f"round-{_digest([folder.name for folder in folders])}"
        kept = _join(folders, config, round_folder, stages)
        found = {name: {**fact, "in_round": count} for name, fact, count in zip(names, facts, kept, strict=True)}
        adapter = Adapter(config, weights, round_folder, taxonomy=source.taxonomy)
        _begin(adapter, notices)
        with stages("one round of learning"), cancelled_by_interrupt() as token:
            decision = adapter.run_round(token)
        result = FleetRound(decision, weights.current(), notices, found)
        if decision is not None:
            write_text(summary, json.dumps(_facts(result, current), indent=2) + "\n")
            shutil.rmtree(work, ignore_errors=True)
        return result


def _work_folder(store: WeightStore, config: Config, current: Version, bags: int) -> Path:
    """Of this configuration and these weights; what was begun with others is given up."""
    digest = _digest([config.model_dump(mode="json"), current.name, bags])
    for other in (store.folder / _WORK).iterdir():
        if other.is_dir() and other.name != digest:
            shutil.rmtree(other)
    return store.folder / _WORK / digest


def _choose_frames(
    store: WeightStore,
    bags: Sequence[Path],
    names: Sequence[str],
    config: Config,
    current: Version,
    folder: Path,
    engine: Engine | None,
    stages: Stages,
) -> list[Path]:
    part = share_of_buffer(config.adaptation.buffer, len(bags))
    own = config.model_copy(update={"adaptation": config.adaptation.model_copy(update={"buffer": part})})
    shards = [
        Shard(f"{name}-{fingerprint(bag)}", VehicleBag(bag, own, store.folder, current.name, len(bags) == 1), 100)
        for name, bag in zip(names, bags, strict=True)
    ]
    with stages(f"choosing frames of {len(bags)} bags, percent of each") as progress:
        return map_shards(choose_frames, shards, folder, engine, progress)


def _join(folders: Sequence[Path], config: Config, round_folder: Path, stages: Stages) -> list[int]:
    """Makes the frames of the round, where it has not begun; returns how many each bag has among them."""
    record = round_folder / "bags.json"
    if record.is_file():
        return list(json.loads(record.read_text()))
    buffer = config.adaptation.buffer
    with stages("comparing the frames of all bags"):
        joint, kept = join_frames(folders, share_of_buffer(buffer, len(folders)), buffer)
        joint.save(round_folder / "buffer")
    write_text(record, json.dumps(kept))
    return kept


def _begin(adapter: Adapter, notices: Notices) -> None:
    """Makes the round due. Raises BagError that says what it lacks."""
    if short := adapter.fit_short_drive():
        notices.add("short_drive", short)
    if not adapter.ready_at_end:
        adapter.request_round()
    if not adapter.ready_at_end:
        raise BagError("; ".join(["the bags have too few frames for a round of learning", *adapter.missing]))


def _facts(result: FleetRound, before: Version) -> dict[str, Any]:
    assert result.decision is not None
    values: dict[str, Any] = json_values(
        {
            "mode": "fleet adapt",
            "before": before.name,
            "in_use": result.version.name,
            "bags": result.bags,
            "notices": result.notices.as_dict(),
            "decision": result.decision.as_dict(),
        }
    )
    return values


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
