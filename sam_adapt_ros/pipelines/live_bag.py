"""A bag through the real nodes, over DDS: played, labelled, adapted to, recorded and summarized like a replay."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.nodes.launch_arguments import bag_calibration
from sam_adapt_ros.nodes.tools.adapter_client import is_open
from sam_adapt_ros.nodes.tools.node_process import NodeProcess
from sam_adapt_ros.nodes.tools.player import play
from sam_adapt_ros.nodes.tools.recorder import LABELS, STATUS, Recorder
from sam_adapt_ros.nodes.tools.recording import Recording
from sam_adapt_ros.progress import Progress, Stages, no_progress, no_stages, track
from sam_adapt_ros.segmentation import load_segmenter
from sam_adapt_ros.visualization.run_report import (
    PICTURES,
    ReportFrame,
    evenly_spaced,
    prepare_report,
    write_run_report,
)

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 300.0
IDLE_S = 10.0
"""After the bag has ended, no more labels are expected once none came for so long."""
ROUND_PHASES = ("statistics", "pseudo_labels", "training", "evaluation")
"""Phases of a round."""


def keep_to_this_machine() -> None:
    """Keeps DDS on this machine and, unless a domain is set, in one of its own: no other robot gets a demo's topics."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + secrets.randbelow(100)))


def run_live(
    bag: Path,
    config: Config,
    output: Path,
    *,
    rate: float = 1.0,
    force: bool = False,
    stages: Stages = no_stages,
) -> RunSummary:
    """``drive_live``, then ``summary.json``, pictures and ``report.html`` in ``output``. Raises OutputError before."""
    prepare_report(output, force=force)
    recording = drive_live(bag, config, output, rate=rate, force=force, stages=stages)
    with stages("scoring the labels") as progress:
        summary, shown = summarize(recording, bag, config, rate, progress=progress)
    with stages("drawing the report"):
        write_run_report(summary, shown, output, title=f"{bag.name}, live")
    return summary


def drive_live(
    bag: Path,
    config: Config,
    output: Path,
    *,
    rate: float = 1.0,
    patience_s: float = 0.0,
    force: bool = False,
    stages: Stages = no_stages,
    on_labels: Callable[[Any], object] | None = None,
) -> Recording:
    """Starts the segmenter and, where the configuration names a weight store, the adapter; plays the bag to them and
    leaves ``labels`` (a bag), ``segmenter.log`` and ``adapter.log`` in ``output``.

    rate: times the recorded speed. patience_s: how long, after the bag, a round that is under way is waited for.
    on_labels: called with the latest label cloud, while it drives; it must be quick.
    Raises BagError when the bag cannot be played or the segmenter ends before it.
    """
    output.mkdir(parents=True, exist_ok=True)
    keep_to_this_machine()
    config = config.updated(bag_calibration(config, bag))
    with BagReader(bag, config) as reader:
        sweeps = reader.sweeps
    with ExitStack() as stack:

        def start(node: str) -> NodeProcess:
            log = stack.enter_context((output / f"{node}.log").open("w", encoding="utf-8"))
            return stack.enter_context(NodeProcess(node, config, of_ros={"use_sim_time": True}, log=log))

        recorder = stack.enter_context(Recorder(output / "labels", force=force))
        segmenter = start("segmenter")
        adapter = start("adapter") if config.adaptation.store.folder else None
        stack.callback(segmenter.request_stop)  # both end at the same time
        _Drive(bag, config, rate, sweeps, segmenter, adapter, recorder, on_labels).run(patience_s, stages)
    with stages("reading the recorded labels"):
        return Recording.load(output / "labels")


@dataclass
class _Drive:
    bag: Path
    config: Config
    rate: float
    sweeps: int
    segmenter: NodeProcess
    adapter: NodeProcess | None
    recorder: Recorder
    on_labels: Callable[[Any], object] | None = None

    def run(self, patience_s: float, stages: Stages) -> None:
        if self.adapter is not None:
            with stages("starting segmenter and adapter"):  # else the adapter would miss the first frames
                if not self._wait(lambda: is_open(self._adapter_status()), START_TIMEOUT_S):
                    logger.warning(
                        "The adapter has not opened its weight store within %g s: the bag is played all the same, and "
                        "nothing is learned from the frames until then. See adapter.log in the output folder.",
                        START_TIMEOUT_S,
                    )
        with stages("driving, live over DDS") as progress:
            self._play(progress)
        if (number := self._round()) is not None:
            with stages(f"finishing round {number}, {patience_s:g} s at most"):
                self._wait(lambda: self._round() != number, patience_s)

    def _play(self, progress: Progress) -> None:
        stop = threading.Event()
        options: dict[str, Any] = {
            "rate": self.rate,
            "clock": True,
            "wait_for": [self.config.lidar.topic, *(camera.image for camera in self.config.cameras.values())],
            # Both: a node that subscribes too late would miss the first frames.
            "subscribers": ["segmenter"] if self.adapter is None else ["segmenter", "adapter"],
            "wait_timeout": START_TIMEOUT_S,
            "stop": stop,
        }
        with ThreadPoolExecutor(1, thread_name_prefix="player") as player:
            played = player.submit(play, self.bag, **options)
            try:
                ended, finished = "timeout", False
                while ended == "timeout" and not finished:
                    finished = played.done()
                    limits = {"idle_s": IDLE_S, "timeout_s": 2 * IDLE_S} if finished else {"timeout_s": 0.2}
                    ended = self.recorder.wait({LABELS: self.sweeps}, **limits)
                    progress(self.recorder.counts[LABELS], self.sweeps)
                    if self.on_labels is not None and (cloud := self.recorder.latest_cloud(LABELS)) is not None:
                        self.on_labels(cloud)
                    self._check()
                    if played.done():
                        played.result()  # raises what went wrong
            finally:
                stop.set()

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether the condition came true in time."""
        deadline = time.monotonic() + timeout_s
        while not (fulfilled := condition()) and time.monotonic() < deadline:
            self._check()
            time.sleep(0.2)
        return fulfilled

    def _check(self) -> None:
        """Raises BagError when the segmenter is no more."""
        if self.segmenter.exit_code is not None:
            code = self.segmenter.exit_code
            raise BagError(f"{self.bag}: the segmenter ended with code {code}; see segmenter.log in the output folder")
        if self.adapter is not None:
            self.adapter.keep_running()

    def _adapter_status(self) -> dict[str, Any]:
        """What the adapter reported last; {} before, and without an adapter."""
        return self.recorder.diagnostics(STATUS, "adapter")

    def _round(self) -> int | None:
        """The number of the round that is under way."""
        status = self._adapter_status()
        return status.get("round") if status.get("phase") in ROUND_PHASES else None


def summarize(
    recording: Recording,
    bag: Path,
    config: Config,
    rate: float = 1.0,
    each: Callable[[Frame, BranchLabels], None] | None = None,
    progress: Progress = no_progress,
) -> tuple[RunSummary, list[ReportFrame]]:
    """The recorded labels compared with the bag's ground truth, and the frames for the report.

    each: called with every labelled frame and its labels.
    """
    segmenter, config = load_segmenter(config)  # for the taxonomy that the labels are of
    summary, shown = RunSummary(segmenter.taxonomy), []
    with BagReader(bag, config) as reader:
        pictured = evenly_spaced(reader.sweeps, PICTURES)
        for place, frame in enumerate(track(reader.frames(), progress, reader.sweeps)):
            by_branch = recording.labels.get(frame.stamp_ns, {})
            if Branch.FUSED in by_branch:
                summary.add(by_branch, frame.ground_truth)
                if each:
                    each(frame, by_branch)
                if place in pictured:
                    shown.append(ReportFrame(frame, by_branch[Branch.FUSED]))
        summary.frames_in = reader.sweeps
        summary.notices.update(reader.notices)
    last = recording.segmenter[-1][1] if recording.segmenter else {}
    summary.dropped.update(last.get("dropped", {}))
    if unaccounted := summary.frames_in - summary.frames_labelled - sum(summary.dropped.values()):
        summary.dropped["not_recorded"] = unaccounted
    for camera, reasons in last.get("camera_drops", {}).items():
        summary.camera_drops.update({f"{reason}.{camera}": count for reason, count in reasons.items()})
    for key, text in last.get("notices", {}).items():
        summary.notices.add(key, text)
    summary.latency_ms = last.get("latency_ms", {})
    summary.seconds = recording.seconds / rate
    summary.facts = {"bag": str(bag), "mode": "live over DDS", "rate": rate}
    summary.facts |= {name: last[name] for name in ("weights", "version", "device") if name in last}
    return summary, shown
