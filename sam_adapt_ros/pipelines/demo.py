"""The demo: a model that has only seen the day drives into the night, with sensors new to it, live, and adapts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_adapt_ros.adaptation import StoreReader
from sam_adapt_ros.adaptation.decision_log import DecisionLog
from sam_adapt_ros.bags import BagReader, BagWriter
from sam_adapt_ros.branch import BranchLabels
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.recovered_share import recovery_figures
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation
from sam_adapt_ros.evaluation.timeline import Timeline
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.nodes.tools.recording import Recording
from sam_adapt_ros.notices import describe_counts
from sam_adapt_ros.pipelines.adaptive_replay import fresh_folder
from sam_adapt_ros.pipelines.demo_view import DemoView
from sam_adapt_ros.pipelines.live_bag import ROUND_PHASES, drive_live, run_live, summarize
from sam_adapt_ros.pipelines.reference_models import OracleRecipe, batchnorm_only, oracle_in_background, to_samples
from sam_adapt_ros.pipelines.simulated_drives import town_bag
from sam_adapt_ros.progress import Progress, Stages, track
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.adaptation_report import adaptation_sections
from sam_adapt_ros.visualization.before_after import compare
from sam_adapt_ros.visualization.run_report import evenly_spaced, prepare_report, write_run_report

_BEFORE_AFTER = ("miou_source_unseen", "miou_final")
BATCHNORM_FRAMES = 40
"""Frames of the drive that BatchNorm statistics alone are re-estimated on."""


@dataclass(frozen=True)
class DemoSettings:
    """What is driven: so many frames, at ``rate`` times the recorded speed of two a second.

    patience_s: how long a round that is under way at the end is waited for. The unseen drive scores the weights.
    """

    domain: str = "night+other_lidar"
    seed: int = 100
    frames: int = 190
    rate: float = 0.3
    patience_s: float = 45.0
    unseen_seed: int = 105
    unseen_frames: int = 20
    oracle_seeds: tuple[int, ...] = (80, 81)
    oracle_frames: int = 30
    oracle_steps: int = 80

    @property
    def oracle(self) -> OracleRecipe:
        return OracleRecipe(self.domain, self.oracle_seeds, self.oracle_frames, self.oracle_steps)


def label_live(
    domain: str, config: Config, output: Path, stages: Stages, frames: int = 60, *, force: bool = False
) -> RunSummary:
    """A drive, labelled live over DDS by the source model; leaves a report in ``output``.

    Raises OutputError before the work begins.
    """
    _prepare(output, force)
    with stages("rendering the drive") as progress:
        bag = town_bag(domain, DemoSettings.seed, frames, progress)
    return run_live(bag, config, output, force=force, stages=stages)


def adapt_live(
    settings: DemoSettings,
    config: Config,
    output: Path,
    stages: Stages,
    *,
    force: bool = False,
    view: Callable[[Taxonomy], AbstractContextManager[DemoView]] | None = None,
) -> RunSummary:
    """A drive, labelled live over DDS while the model adapts to it; then the adapted weights on an unseen drive.

    Leaves in ``output`` what ``label_live`` does and the weight ``store``; ``summary.json`` has ``adaptation``.
    view: opens the live view. Raises OutputError before the work begins.
    """
    _prepare(output, force)
    store = fresh_folder(output / "store")
    config = _share_cores(config.updated({"adaptation.store.folder": str(store)}))
    with stages("rendering the drive") as progress:
        bag = town_bag(settings.domain, settings.seed, settings.frames, progress)
    with ExitStack() as stack:
        shown = None if view is None else stack.enter_context(view(load_segmenter(config)[0].taxonomy))
        recording = drive_live(
            bag,
            config,
            output,
            rate=settings.rate,
            patience_s=settings.patience_s,
            force=force,
            stages=stages,
            on_labels=None if shown is None else shown.live,
        )
        wait_for_oracle = stack.enter_context(oracle_in_background(settings.oracle, config))
        with stages("loading the weights"):
            measurement = _Measurement(settings, config, bag, store, recording, shown)
        measurement.score_drive(stages)
        measurement.score_unseen_drive(stages, wait_for_oracle)
    with stages("drawing the report"):
        return measurement.report(output)


def _prepare(output: Path, force: bool) -> None:
    """Refuses an output that cannot be written, or that an earlier run has taken: rendering comes first."""
    prepare_report(output, force=force)
    BagWriter(output / "labels", force=force)


def _share_cores(config: Config) -> Config:
    """Leaves the adapter its threads, so that segmenter and adapter do not wait for each other; unless configured."""
    cores = os.cpu_count() or 1
    threads = config.segmenter.threads or max(1, cores - config.adaptation.resources.threads)
    return config.updated({"segmenter.threads": threads})


class _Measurement:
    """What adaptation gained on the drive, measured afterwards in process."""

    def __init__(
        self,
        settings: DemoSettings,
        config: Config,
        bag: Path,
        store: Path,
        recording: Recording,
        view: DemoView | None = None,
    ) -> None:
        self._settings, self._bag, self._recording, self._view = settings, bag, recording, view
        self._source, self._config = load_segmenter(config)
        self._last = StoreReader(store).current()
        self._final = Segmenter.load(self._last.path, self._config.segmenter, self._source.taxonomy)
        self._decisions = list(DecisionLog(store / "adapter"))
        self._timeline = Timeline(self._source.taxonomy)
        self._scores: dict[str, Evaluation] = {}
        self._labels: dict[str, list[BranchLabels]] = {}  # of the unseen drive

    def score_drive(self, stages: Stages) -> None:
        """Evaluates the published labels, and those of the source model on the same frames."""
        self._mark_events()
        if self._view is not None:
            self._view.begin_drive(self._timeline.events)
        with stages("evaluating the drive, with the source model for comparison") as progress:
            self._summary, self._shown = summarize(
                self._recording,
                self._bag,
                self._config,
                self._settings.rate,
                self._add,
                progress,
            )
        self._scores |= {
            "miou_source": self._timeline.source.evaluation,
            "miou_online": self._timeline.online.evaluation,
        }

    def _add(self, frame: Frame, labels: BranchLabels) -> None:
        source = self._source(frame).by_branch()
        self._timeline.add(frame, labels, source)
        if self._view is not None:
            self._view.show(frame, source, labels)

    def score_unseen_drive(self, stages: Stages, wait_for_oracle: Callable[[Progress], Segmenter]) -> None:
        """The last weights and what they are compared with, on a drive that the adapter has not seen."""
        settings = self._settings
        with stages("rendering the unseen drive") as progress:
            bag = town_bag(settings.domain, settings.unseen_seed, settings.unseen_frames, progress)
        self._unseen = list(self._frames(bag))
        self._score("miou_source_unseen", self._source, "the source model", stages)
        with stages("re-estimating BatchNorm statistics") as progress:
            places = evenly_spaced(settings.frames, BATCHNORM_FRAMES)
            frames = track(self._frames(self._bag, places), progress, len(places))
            batchnorm = batchnorm_only(self._source, to_samples(frames, self._source), self._config.segmenter)
        self._score("miou_batchnorm_only", batchnorm, "BatchNorm statistics alone", stages)
        self._score("miou_final", self._final, "the adapted weights", stages)
        if self._view is not None:
            self._view.begin_unseen_drive()
            for both in zip(self._unseen, *(self._labels[name] for name in _BEFORE_AFTER), strict=True):
                self._view.show(*both)
        with stages("training the oracle with true labels") as progress:
            oracle = wait_for_oracle(progress)
        self._score("miou_oracle", oracle, "the oracle", stages)

    def report(self, output: Path) -> RunSummary:
        facts = self._facts()
        self._summary.facts["adaptation"] = facts
        shown = compare(self._unseen, *(self._labels[name] for name in _BEFORE_AFTER))
        sections = adaptation_sections(self._timeline, facts, shown, output / "pictures")
        write_run_report(self._summary, self._shown, output, f"From day into {self._settings.domain}, live", sections)
        return self._summary

    def _score(self, name: str, segmenter: Segmenter, title: str, stages: Stages) -> None:
        evaluation, self._labels[name] = Evaluation(segmenter.taxonomy), []
        with stages(f"scoring {title} on the unseen drive") as progress:
            for frame in track(self._unseen, progress, len(self._unseen)):
                prediction = segmenter(frame)
                evaluation.add(frame, prediction)
                self._labels[name].append(prediction.by_branch())
        self._scores[name] = evaluation

    def _frames(self, bag: Path, places: set[int] | None = None) -> Iterator[Frame]:
        with BagReader(bag, self._config) as reader:
            yield from reader.frames(places)

    def _mark_events(self) -> None:
        """The gate's decisions and the rollbacks, at the frames after which they were reported."""
        events = self._recording.events("promotions") + self._recording.events("rejections")
        # Decisions come one at a time: the log has them in the same order.
        for (time_ns, _), decision in zip(sorted(events, key=lambda event: event[0]), self._decisions, strict=False):
            self._timeline.decide(decision["promoted"], decision["reason"], self._recording.frames_before(time_ns))
        for time_ns, report in self._recording.events("rollbacks"):
            self._timeline.roll_back(str(report.get("change_reason", "")), self._recording.frames_before(time_ns))
        self._timeline.events.sort(key=lambda event: event.frame)

    def _why_no_round(self) -> str:
        """As the adapter reported last."""
        report = self._recording.adapter[-1][1] if self._recording.adapter else {}
        if report.get("phase") in ROUND_PHASES:
            return (
                f"round {report.get('round')} had begun, and had not ended {self._settings.patience_s:g} s after the "
                "drive; it ends on a machine that is less busy"
            )
        lacking = {name: count for name, count in report.get("frames", {}).get("lacking", {}).items() if count}
        return f"no round began, it lacked frames: {describe_counts(lacking)}" if lacking else "no round ended"

    def _facts(self) -> dict[str, Any]:
        settings, counts = self._settings, self._timeline.as_dict()
        with BagReader(self._bag, self._config) as reader:
            lost = self._recording.lost_in_swaps(frame.stamp_ns for frame in reader.frames())
        reported = self._recording.segmenter[-1][1] if self._recording.segmenter else {}
        return {
            **recovery_figures(self._scores),
            **{name: counts[name] for name in ("promotions", "rejections", "rollbacks")},
            "frames_dropped_by_swaps": len(lost),
            "swap_ms": reported.get("swap_ms", {}).get("max"),
            "last_weights": self._last.name,
            "drive": {"domain": settings.domain, "seed": settings.seed, "frames": settings.frames},
            "unseen_drive": {"seed": settings.unseen_seed, "frames": settings.unseen_frames},
            "decisions": self._decisions,
            "no_round": "" if self._decisions else self._why_no_round(),
        }
