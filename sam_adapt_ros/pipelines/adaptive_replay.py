"""A bag through segmenter and adapter, in process: each frame is labelled before it is learned from."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sam_adapt_ros.adaptation import Version, WeightStore
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.adaptation.monitoring.rollback_monitor import RollbackMonitor
from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.branch import BranchLabels
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import Config, find_weights
from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.evaluation.timeline import Timeline
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines.bag_frames import cancelled_by_interrupt, write_labels
from sam_adapt_ros.pipelines.bag_stream import BagStream, LabelBags, as_list, unique_names
from sam_adapt_ros.pipelines.replay import LABELS
from sam_adapt_ros.progress import Stages, no_stages
from sam_adapt_ros.segmentation import Prediction, Segmenter, load_segmenter
from sam_adapt_ros.visualization.adaptation_report import adaptation_sections
from sam_adapt_ros.visualization.before_after import BeforeAfter, compare
from sam_adapt_ros.visualization.run_report import ReportFrame, prepare_report, write_run_report

logger = logging.getLogger(__name__)


class OnlineRun:
    """A stream of frames, labelled by the weights in use while these change; what the two nodes do, in one thread.

    source: the model as shipped. segmenter: of the weights in use. seconds_learning: of all rounds so far.
    offered: frames by what the adapter made of them, see ``Adapter.observe``.
    notices: what failed, and what was done otherwise than usual.
    """

    def __init__(self, config: Config, store: Path) -> None:
        """With an empty store of its own in the folder. Raises WeightsError, StoreError, and what
        ``Segmenter.warm_up`` does."""
        self.source, self.config = load_segmenter(config)
        self.source.warm_up()
        weights = WeightStore(store)
        self._source_version = weights.initialize(find_weights(config.segmenter.weights))
        self.adapter = Adapter(self.config, weights, taxonomy=self.source.taxonomy)
        self.segmenter = self.source
        self.timeline = Timeline(self.source.taxonomy)
        self.decisions: list[Decision] = []
        self.seconds_learning = 0.0
        self.offered: Counter[str] = Counter()
        self.notices = Notices(logger.warning)
        self._version = self._source_version
        self._monitor = RollbackMonitor(config.adaptation.rollback)

    def label(self, frame: Frame) -> Prediction:
        """By the weights in use; the frame is then offered to learn from, and monitored: weights that fall are rolled
        back before the next frame. Raises NetworkError when the network fails on the frame."""
        try:
            prediction = self.segmenter(frame)
        except NetworkError as error:
            self._monitored(error, frame)
            raise
        self.timeline.add(frame, prediction.by_branch(), self._by_source(frame, prediction).by_branch())
        self.offered[self.adapter.observe(frame, prediction.labels, prediction.probability)] += 1
        self._monitored(prediction, frame)
        return prediction

    def _by_source(self, frame: Frame, prediction: Prediction) -> Prediction:
        """What the source model makes of a frame; where it fails, the prediction given stands for it."""
        if self.segmenter is self.source:
            return prediction
        try:
            return self.source(frame)
        except NetworkError as error:
            self.notices.add(
                "source_failed",
                f"the source model failed on a frame that the weights in use have labelled ({error}): in comparisons "
                "their labels stand for it",
            )
            return prediction

    def learn(self, *, at_end: bool = False, token: CancellationToken = NEVER) -> None:
        """A round where one is due; what is promoted labels from the next frame on. at_end: no more frames come, half
        of the usual will do. token: once cancelled, the round is left."""
        if at_end and (done := self.adapter.fit_short_drive()):
            self.notices.add("short_drive", done)
        if not (self.adapter.ready or (at_end and self.adapter.ready_at_end)):
            return
        start = time.perf_counter()
        try:
            decision = self.adapter.run_round(token)
        except NetworkError as error:
            self.notices.add("round_failed", f"a round of learning failed, labelling goes on: {error}")
            self.adapter.abandon_round()
            return
        finally:
            self.seconds_learning += time.perf_counter() - start
        if decision is None:
            return
        self.decisions.append(decision)
        self.timeline.decide(decision.promoted, decision.reason)
        if decision.promoted:
            self._use(self.adapter.store.current())

    def drive(self, frames: Iterable[Frame], *, ends: bool = True) -> None:
        """Labels a drive frame by frame, and learns in between. ends: whether no more frames will come."""
        for frame in frames:
            self.label(frame)
            self.learn()
        if ends:
            self.learn(at_end=True)

    def _monitored(self, outcome: Prediction | NetworkError, frame: Frame) -> None:
        is_source = self._version == self._source_version
        name, now_s = "" if is_source else self._version.name, frame.stamp_ns * 1e-9
        reason = self._monitor.observe_outcome(outcome, name, source=is_source, now_s=now_s)
        if reason is not None:
            self._roll_back(reason)

    def _roll_back(self, reason: str) -> None:
        logger.error("rolling back %s: %s", self._version.name, reason)
        self.timeline.roll_back(reason, len(self.timeline))
        self._use(self.adapter.store.rollback(f"segmenter: {reason}", of=self._version))
        self.adapter.abandon_round()

    def _use(self, version: Version) -> None:
        self._version, self.segmenter = version, self.source
        if version != self._source_version:
            self.segmenter = Segmenter.load(version.path, self.config.segmenter, self.source.taxonomy)


def replay_adapting(
    bags: Path | Sequence[Path],
    config: Config,
    output: Path,
    *,
    passes: int = 1,
    force: bool = False,
    stages: Stages = no_stages,
) -> RunSummary:
    """Labels every frame of a bag, or of several as one stream, ``passes`` times over, and learns in between.

    Leaves ``labels`` (a bag, of the last pass; of several, a folder with one for each), ``store`` (weights),
    ``summary.json``, pictures and ``report.html``.
    Interrupted (SIGINT), it ends after the present frame or round, and writes the same files for the frames of that
    pass so far; the bag of labels is empty unless it was the last one.
    Raises OutputError before the work begins, BagError, WeightsError, StoreError or CalibrationError.
    """
    prepare_report(output, force=force)
    labels = LabelBags(output / "labels", unique_names(as_list(bags)), force=force)
    run = OnlineRun(config, fresh_folder(output / "store"))
    taxonomy = run.source.taxonomy
    stream = BagStream(bags, run.config, taxonomy)
    start = time.perf_counter()
    interrupted_pass = ""
    with labels as written, cancelled_by_interrupt() as token:
        for number in range(1, passes + 1):
            last = number == passes
            shown, spans = list[ReportFrame](), dict[str, range]()  # of this pass
            with stages(f"adapting, pass {number} of {passes}") as progress:
                for frame, _, pictured, part, bag in stream.frames(progress, token):
                    try:
                        prediction = run.label(frame)
                    except NetworkError as error:
                        part.add_failure(error, frame.stamp_ns)
                        continue
                    spans[bag] = range(spans[bag].start if bag in spans else len(run.timeline) - 1, len(run.timeline))
                    if last:
                        writer = written.writer(bag)
                        write_labels(writer, LABELS, frame, prediction.labels, prediction.probability, taxonomy)
                    part.add(prediction.by_branch(), frame.ground_truth)
                    prediction.report(part.notices)
                    if pictured:
                        shown.append(ReportFrame(frame, prediction.labels))
                    run.learn(token=token)
            if token.cancelled:
                if not last:
                    interrupted_pass = (
                        f"interrupted in pass {number} of {passes}: the figures are of that pass, and the bag of "
                        "labels, which is of the last, is empty"
                    )
                break
            if not (last or run.decisions):  # a short drive: what there is to learn is learned before the next pass
                with stages(f"learning from pass {number}"):
                    run.learn(at_end=True, token=token)
        if not token.cancelled:
            with stages("learning from the last frames"):
                run.learn(at_end=True, token=token)
    summary = stream.summary()
    summary.seconds = time.perf_counter() - start
    if interrupted_pass:
        summary.notices.add("interrupted_pass", interrupted_pass)
    summary.notices.update(run.source.notices)
    no_round = ""
    if not run.decisions:
        no_round = "it was interrupted" if token.cancelled else f"no round ended: {'; '.join(run.adapter.missing)}"
        run.notices.add("nothing_learned", f"nothing was learned: {no_round}")
    summary.notices.update(run.notices)
    for facts in summary.facts.get("bags", ()):
        facts |= run.timeline.part(spans.get(facts["name"], range(0)))
    summary.facts |= {
        "mode": "replay --adapt",
        "interrupted": token.cancelled,
        "weights": run.source.version,
        "network": run.source.network.architecture.network,
        "last_weights": run.segmenter.version,
        "device": str(run.source.device),
        "fusion": run.config.segmenter.fusion,
        "adaptation": {
            **run.timeline.as_dict(),
            "passes": passes,
            "seconds_learning": round(run.seconds_learning, 2),
            "offered": dict(run.offered),
            "buffer": dict(run.adapter.buffer.counts),
            "decisions": [decision.as_dict() for decision in run.decisions],
            "no_round": no_round,
        },
    }
    with stages("drawing the report"):
        _write_report(run, summary, shown, output, f"Adapting on {stream.title}")
    return summary


def _write_report(run: OnlineRun, summary: RunSummary, shown: Sequence[ReportFrame], output: Path, title: str) -> None:
    compared = _before_and_after(run, [each.frame for each in shown])
    sections = adaptation_sections(run.timeline, summary.facts["adaptation"], compared, output / "pictures")
    write_run_report(summary, shown, output, title, sections)


def _before_and_after(run: OnlineRun, frames: Sequence[Frame]) -> list[BeforeAfter]:
    """By the source and by the weights in use; frames that one of them fails on are left out."""
    kept, before, after = list[Frame](), list[BranchLabels](), list[BranchLabels]()
    for frame in frames:
        with contextlib.suppress(NetworkError):
            both = run.source(frame).by_branch(), run.segmenter(frame).by_branch()
            kept.append(frame)
            before.append(both[0])
            after.append(both[1])
    return compare(kept, before, after)


def fresh_folder(folder: Path) -> Path:
    """An offline run starts from the source: what an earlier one left in the folder is moved aside, never removed."""
    if folder.exists():
        number = 1
        while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(aside)
    return folder
