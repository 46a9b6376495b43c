"""Adaptation over long streams: many drives in a row, the return to the source domain, memory."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.benchmarks.adaptation import with_source
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, evaluate
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.pipelines.adaptive_replay import OnlineRun
from sam_adapt_ros.progress import Progress, Stages, no_progress, no_stages, part_of, track
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.simulation.drive import frames as render

logger = logging.getLogger(__name__)

_APART_M = 1000.0  # between the positions of successive drives
_APART_NS = 60_000_000_000  # between the stamps of successive drives
_NEXT_SEED = 100  # between the seeds of successive drives, so that no stream has an unseen drive's or another's
_UNSEEN_SEED = 5  # from a stream's seed to its unseen drive's


class Leg(NamedTuple):
    """One drive of a stream."""

    domain: str
    seed: int


@dataclass(frozen=True)
class StreamProtocol:
    """Frames of each drive and seconds between them; number of drives of the long stream; the unseen drives' length."""

    frames: int = 60
    period: float = 0.3
    drives: int = 10
    unseen_frames: int = 24
    unseen_period: float = 0.5


@dataclass(frozen=True)
class StreamResult:
    """Mean IoU of the fused prediction over the points that a camera sees, on unseen drives, by domain.

    source: of the source model. after: of the weights in use at the end of each leg.
    decisions: number of the leg, cause, name of the promoted weights ("" for none) and reason.
    """

    legs: list[Leg]
    source: dict[str, float]
    after: dict[str, list[float]] = field(default_factory=dict)
    decisions: list[dict[str, Any]] = field(default_factory=list)

    def change(self, domain: str) -> float:
        """Mean IoU of the last weights less that of the source model."""
        return self.after[domain][-1] - self.source[domain]


def join(drives: Iterable[Iterable[Frame]]) -> Iterator[tuple[int, Frame]]:
    """Joins drives to one stream; yields each frame with the number of its drive.

    All drives begin at the same position and stamp, so those of later drives are shifted to keep them apart.
    """
    for number, drive in enumerate(drives):
        for frame in drive:
            pose = frame.T_odom_lidar
            if pose is not None:
                pose = pose.copy()
                pose[0, 3] += number * _APART_M
            later = number * _APART_NS
            views = tuple(replace(view, stamp_ns=view.stamp_ns + later) for view in frame.views)
            yield number, replace(frame, stamp_ns=frame.stamp_ns + later, views=views, T_odom_lidar=pose)


def drive_through(
    run: OnlineRun,
    legs: Sequence[Leg],
    drives: Iterable[Iterable[Frame]],
    unseen: dict[str, list[Frame]],
) -> StreamResult:
    """Adapts along the drives; evaluates the weights in use at the end of each on the unseen drive of each domain."""
    scores: dict[str, dict[str, float]] = {}

    def score(segmenter: Segmenter) -> dict[str, float]:
        if segmenter.version not in scores:
            scores[segmenter.version] = {
                domain: evaluate(frames, segmenter).miou(FUSED_SEEN) for domain, frames in unseen.items()
            }
        return scores[segmenter.version]

    result = StreamResult(list(legs), score(run.source), {domain: [] for domain in unseen})

    def end_leg(leg: int) -> None:
        for domain, miou in score(run.segmenter).items():
            result.after[domain].append(miou)
        logger.info(
            "%s, seed %d: %s", *legs[leg], {domain: round(miou[-1], 4) for domain, miou in result.after.items()}
        )

    def learn(leg: int, *, at_end: bool = False) -> None:
        known = len(run.decisions)
        run.learn(at_end=at_end)
        result.decisions.extend(_decision_row(leg, decision) for decision in run.decisions[known:])

    leg = 0
    for number, frame in join(drives):
        if number != leg:
            end_leg(leg)
            leg = number
        run.label(frame)
        learn(leg)
    learn(leg, at_end=True)
    end_leg(leg)
    return result


def long_stream(
    config: Config, shift: str, seed: int, protocol: StreamProtocol = StreamProtocol(), progress: Progress = no_progress
) -> StreamResult:
    """Many drives of one domain: what was learned on the first must not be lost on the others."""
    legs = [Leg(shift, seed + number * _NEXT_SEED) for number in range(protocol.drives)]
    return _through_the_town(config, legs, [Leg(shift, seed + _UNSEEN_SEED)], protocol, progress)


def return_to_day(
    config: Config, seed: int, protocol: StreamProtocol = StreamProtocol(), progress: Progress = no_progress
) -> StreamResult:
    """Day, night, and day again."""
    legs = [Leg(domain, seed + number * _NEXT_SEED) for number, domain in enumerate(("day", "night", "day"))]
    unseen = [Leg(domain, seed + _UNSEEN_SEED) for domain in ("day", "night")]
    return _through_the_town(config, legs, unseen, protocol, progress)


@dataclass(frozen=True)
class MemoryResult:
    """Resident memory of the process after each round, and the buffer's share of it, in megabytes."""

    resident: list[float]
    buffer: list[float]

    @property
    def growth(self) -> float:
        """Growth from the third round, when everything is loaded, to the last."""
        return self.resident[-1] - self.resident[min(2, len(self.resident) - 1)]


def memory(run: OnlineRun, frames: Iterable[Frame], rounds: int = 20, every: int = 4) -> MemoryResult:
    """Runs a round every ``every`` frames, up to ``rounds`` rounds or the end of the frames."""
    result = MemoryResult([], [])
    for place, frame in enumerate(frames):
        run.label(frame)
        if place % every == 0:
            run.adapter.request_round()
        known = len(run.decisions)
        run.learn()
        if len(run.decisions) > known:
            result.resident.append(resident_megabytes())
            result.buffer.append(run.adapter.buffer.nbytes / 1e6)
        if len(result.resident) == rounds:
            break
    return result


def resident_megabytes() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory_in_town(
    config: Config, seed: int, rounds: int = 20, every: int = 4, progress: Progress = no_progress
) -> MemoryResult:
    """Memory over rounds by night, with a small buffer that is full after the first rounds."""
    small = {
        "adaptation.buffer.max_frames": 40,
        "adaptation.rounds.min_frames": 16,
        "adaptation.self_training.steps": 4,
    }
    config = Config.from_flat(config.to_flat() | small)
    frames = 60 + every * rounds
    with tempfile.TemporaryDirectory(prefix="sam_adapt_") as folder:
        run = OnlineRun(config, Path(folder) / "store")
        return memory(run, track(render("night", seed, frames, 0.3), progress, frames), rounds, every)


STREAMS = ("long", "return", "memory")


def bench_streams(
    config: Config,
    names: Sequence[str] = STREAMS,
    shifts: Sequence[str] = ("night", "new_city", "other_lidar"),
    seeds: Sequence[int] = (110,),
    protocol: StreamProtocol = StreamProtocol(),
    output: Path | None = None,
    stages: Stages = no_stages,
) -> dict[str, Any]:
    """Runs the named measurements. Raises ConfigError for an unknown name.

    output: a JSON file, rewritten after each measurement.
    """
    unknown = sorted(set(names) - set(STREAMS))
    if unknown:
        raise ConfigError(f"streams: some of {', '.join(STREAMS)} expected, got {', '.join(unknown)}")
    config = with_source(config) if config.adaptation.mode == "with_source" else config
    found: dict[str, Any] = {}

    def keep(name: str, row: dict[str, Any]) -> None:
        found.setdefault(name, []).append(row)
        if output is not None:
            facts = {**found, "protocol": asdict(protocol), "recipe": config.adaptation.model_dump(mode="json")}
            write_text(output, json.dumps(json_values(facts), indent=1) + "\n")

    for seed in seeds:
        if "long" in names:
            for shift in shifts:
                with stages(f"{protocol.drives} drives, {shift}, seed {seed}") as progress:
                    result = long_stream(config, shift, seed, protocol, progress)
                first, last = result.after[shift][0], result.after[shift][-1]
                keep("long", {"shift": shift, "seed": seed, "change": last - first, **_plain(result)})
        if "return" in names:
            with stages(f"day, night, day, seed {seed}") as progress:
                result = return_to_day(config, seed, protocol, progress)
            keep("return", {"seed": seed, "change": result.change("day"), **_plain(result)})
        if "memory" in names:
            with stages(f"memory, seed {seed}") as progress:
                measured = memory_in_town(config, seed, progress=progress)
            keep("memory", {"seed": seed, "growth": measured.growth, **asdict(measured)})
    return found


def figures(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table: name, value and target."""
    rows = []
    for row in found.get("long", ()):
        miou = row["after"][row["shift"]]
        name = f"{len(miou)} drives, {row['shift']}, seed {row['seed']}"
        value = f"{row['change']:+.4f} (first {miou[0]:.4f}, last {miou[-1]:.4f}, lowest {min(miou):.4f})"
        rows.append((f"{name}: last against first", value, ">= 0"))
    for row in found.get("return", ()):
        day, night = row["after"]["day"], row["after"]["night"]
        value = f"{row['change']:+.4f} ({day[-1]:.4f}; after the night {day[1]:.4f})"
        rows.append((f"day, night, day, seed {row['seed']}: day against the source", value, "within 0.01"))
        gained = night[1] - row["source"]["night"]
        rows.append((f"day, night, day, seed {row['seed']}: night, at its end", f"{gained:+.4f}", "> 0"))
    for row in found.get("memory", ()):
        name = f"memory, round 3 to {len(row['resident'])}, seed {row['seed']}"
        rows.append((name, f"{row['growth']:+.1f} MB of {row['resident'][-1]:.0f}", "flat"))
    return rows


def _through_the_town(
    config: Config, legs: Sequence[Leg], unseen: Sequence[Leg], protocol: StreamProtocol, progress: Progress
) -> StreamResult:
    held = {
        leg.domain: list(render(leg.domain, leg.seed, protocol.unseen_frames, protocol.unseen_period)) for leg in unseen
    }
    drives = (
        track(
            render(leg.domain, leg.seed, protocol.frames, protocol.period),
            part_of(progress, number, len(legs)),
            protocol.frames,
        )
        for number, leg in enumerate(legs)
    )
    with tempfile.TemporaryDirectory(prefix="sam_adapt_") as folder:
        run = OnlineRun(config, Path(folder) / "store")
        return drive_through(run, legs, drives, held)


def _decision_row(leg: int, decision: Decision) -> dict[str, Any]:
    facts = {name: decision.facts.get(name) for name in ("cause", "frames")}
    return {"leg": leg, "promoted": decision.promoted, "reason": decision.reason, **facts}


def _plain(result: StreamResult) -> dict[str, Any]:
    return {
        "legs": [f"{leg.domain}-{leg.seed}" for leg in result.legs],
        "source": result.source,
        "after": {domain: [float(np.round(value, 5)) for value in values] for domain, values in result.after.items()},
        "decisions": result.decisions,
    }
