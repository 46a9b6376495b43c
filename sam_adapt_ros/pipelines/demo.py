"""The main job on a drive through the town: a model that has only seen the day drives into the night, and adapts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_adapt_ros.adaptation import StoreReader
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.run_summary import Summary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.nodes.tools.launcher import with_arguments
from sam_adapt_ros.nodes.tools.recording import Recording
from sam_adapt_ros.pipelines import recovery
from sam_adapt_ros.pipelines.adaptive_replay import fresh_folder
from sam_adapt_ros.pipelines.live_bag import drive, run_live, sum_up
from sam_adapt_ros.pipelines.simulated_drives import OraclePlan, oracle_in_background, town_bag
from sam_adapt_ros.progress import Progress
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.visualization.adaptation_report import adaptation_sections
from sam_adapt_ros.visualization.before_after import BeforeAfter
from sam_adapt_ros.visualization.run_report import PICTURES, evenly_spaced, write_run_report
from sam_adapt_ros.visualization.timeline import Timeline

Stage = Callable[[str], AbstractContextManager[Progress]]
"""A step of the demo by its title, with its progress."""
NORMALIZED_ON = 40
"""Frames of the drive that normalization alone is estimated on."""


@dataclass(frozen=True)
class Plan:
    """What is driven: so many frames, at ``rate`` times the recorded speed of two a second.

    patience_s: how long the last round of learning is waited for. The unseen drive is what the weights are judged on.
    """

    domain: str = "night"
    seed: int = 100
    frames: int = 140
    rate: float = 0.3
    patience_s: float = 45.0
    unseen_seed: int = 105
    unseen_frames: int = 20
    oracle_seeds: tuple[int, ...] = (80, 81)
    oracle_frames: int = 30
    oracle_steps: int = 80

    @property
    def oracle(self) -> OraclePlan:
        return OraclePlan(self.domain, self.oracle_seeds, self.oracle_frames, self.oracle_steps)


def label_live(domain: str, config: Config, output: Path, stage: Stage, frames: int = 60) -> Summary:
    """A drive, labelled live over DDS by the shipped model; leaves a report in ``output``."""
    with stage("rendering the drive") as progress:
        bag = town_bag(domain, Plan.seed, frames, progress)
    with stage("labelling it live, over DDS") as progress:
        return run_live(bag, config, output, force=True, progress=progress)


def adapt_live(plan: Plan, config: Config, output: Path, stage: Stage) -> Summary:
    """A drive, labelled live over DDS and learned from on the way; then the weights that came of it on an unseen one.

    Leaves in ``output`` what ``label_live`` does and the weight ``store``; ``summary.json`` has ``adaptation``.
    """
    store = fresh_folder(output / "store")
    config = _sharing_cores(with_arguments(config, store=str(store)))
    with stage("rendering the drive") as progress:
        bag = town_bag(plan.domain, plan.seed, plan.frames, progress)
    with stage("driving, live over DDS") as progress:
        recording = drive(
            bag, config, output, rate=plan.rate, patience_s=plan.patience_s, force=True, progress=progress
        )
    with stage("measuring what was gained") as progress, oracle_in_background(plan.oracle, config) as oracle:
        return _Story(plan, config, bag, store, recording, output).tell(oracle, progress)


def _sharing_cores(config: Config) -> Config:
    """The segmenter leaves the adapter its threads, so that neither waits for the other; unless told otherwise."""
    cores = os.cpu_count() or 1
    threads = config.segmenter.threads or max(1, cores - config.adaptation.resources.threads)
    return Config.from_flat({**config.to_flat(), "segmenter.threads": threads})


class _Story:
    """What the drive amounts to, measured afterwards in process."""

    def __init__(self, plan: Plan, config: Config, bag: Path, store: Path, recording: Recording, output: Path) -> None:
        self._plan, self._bag, self._recording, self._output = plan, bag, recording, output
        self._source, self._config = load_segmenter(config)
        self._last = StoreReader(store).current()
        self._decisions = _read_log(store / "adapter" / "decisions.jsonl")

    def tell(self, oracle: Callable[[], Segmenter], progress: Progress) -> Summary:
        """oracle: waits for it. Writes the report."""
        progress(0, 4)
        timeline = Timeline(self._source.taxonomy)
        summary, samples = sum_up(
            self._recording,
            self._bag,
            self._config,
            self._plan.rate,
            lambda frame, labels: timeline.add(frame, labels, self._source(frame).by_branch()),
        )
        self._mark_events(timeline)
        progress(1, 4)
        unseen = self._frames(town_bag(self._plan.domain, self._plan.unseen_seed, self._plan.unseen_frames))
        final = Segmenter.load(self._last.path, self._config.segmenter, self._source.taxonomy)
        models = {
            "miou_source_unseen": self._source,
            "miou_normalization_only": self._normalized(),
            "miou_final": final,
        }
        judged = {"miou_source": timeline.source, "miou_online": timeline.online, **recovery.judge(unseen, models)}
        progress(2, 4)
        judged |= recovery.judge(unseen, {"miou_oracle": oracle()})
        progress(3, 4)
        summary.facts["adaptation"] = facts = self._facts(timeline, recovery.figures(judged))
        shown = [
            BeforeAfter(frame, self._source(frame).by_branch(), final(frame).by_branch())
            for frame in (unseen[place] for place in sorted(evenly_spaced(len(unseen), PICTURES)))
        ]
        pictures = self._output / "pictures"
        pictures.mkdir(exist_ok=True)
        sections = adaptation_sections(timeline, facts, shown, pictures)
        write_run_report(summary, samples, self._output, f"From day into {self._plan.domain}, live", sections)
        progress(4, 4)
        return summary

    def _frames(self, bag: Path, every: int = 1) -> list[Frame]:
        with BagReader(bag, self._config) as reader:
            return [frame for place, frame in enumerate(reader.frames()) if place % every == 0]

    def _normalized(self) -> Segmenter:
        frames = self._frames(self._bag, max(1, self._plan.frames // NORMALIZED_ON))
        return recovery.normalization_only(self._source, recovery.to_samples(frames, self._source), self._config)

    def _mark_events(self, timeline: Timeline) -> None:
        """The gate's decisions and the rollbacks, at the frames after which they were reported."""
        moments = self._recording.moments("promotions") + self._recording.moments("rejections")
        # Decisions come one at a time: the log has them in the same order.
        for (time_ns, _), decision in zip(sorted(moments, key=lambda m: m[0]), self._decisions, strict=False):
            timeline.decide(decision["promoted"], decision["reason"], self._recording.frames_before(time_ns))
        for time_ns, report in self._recording.moments("rollbacks"):
            timeline.roll_back(str(report.get("change_reason", "")), self._recording.frames_before(time_ns))
        timeline.events.sort(key=lambda event: event.frame)

    def _facts(self, timeline: Timeline, figures: dict[str, Any]) -> dict[str, Any]:
        counts = timeline.as_dict()
        with BagReader(self._bag, self._config) as reader:
            lost = self._recording.lost_in_swaps(frame.stamp_ns for frame in reader.frames())
        reported = self._recording.segmenter[-1][1] if self._recording.segmenter else {}
        return {
            **figures,
            **{name: counts[name] for name in ("promotions", "rejections", "rollbacks")},
            "frames_dropped_by_swaps": len(lost),
            "swap_ms": reported.get("swap_ms", {}).get("max"),
            "last_weights": self._last.name,
            "drive": {"domain": self._plan.domain, "seed": self._plan.seed, "frames": self._plan.frames},
            "unseen_drive": {"seed": self._plan.unseen_seed, "frames": self._plan.unseen_frames},
            "decisions": self._decisions,
        }


def _read_log(path: Path) -> list[dict[str, Any]]:
    """The gate's decisions, one a line; [] where no round has ended."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
