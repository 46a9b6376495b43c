"""A bag through the real segmenter node, over DDS: played, labelled, recorded, and summed up as a replay is."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sam_adapt_ros.bags import BagReader, BagSource
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError, SamAdaptError
from sam_adapt_ros.evaluation.run_report import PICTURES, Sample, evenly_spaced, write_run_report
from sam_adapt_ros.evaluation.summary import Summary
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.nodes.diagnostics import read_diagnostics
from sam_adapt_ros.nodes.player import play
from sam_adapt_ros.nodes.process import SegmenterProcess
from sam_adapt_ros.nodes.recorder import LABELS, Recorder
from sam_adapt_ros.nodes.run import with_calibration_of
from sam_adapt_ros.segmentation import load_segmenter

logger = logging.getLogger(__name__)

BRANCH_TOPICS = {"fused": LABELS, "2d": "/segmenter/labels_2d", "3d": "/segmenter/labels_3d"}
START_TIMEOUT_S = 120.0
IDLE_S = 10.0
"""So long without a label after the bag has ended, and nothing more will come."""


def keep_to_this_machine() -> None:
    """Keeps DDS on this machine and, unless a domain is set, in one of its own: other robots must not hear a demo."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + secrets.randbelow(100)))


def run_live(
    bag: Path,
    config: Config,
    output: Path,
    *,
    rate: float = 1.0,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Starts the segmenter, plays the bag to it and leaves ``labels`` (a bag), ``summary.json``, pictures,
    ``report.html`` and ``segmenter.log`` in ``output``.

    rate: times the recorded speed. progress: called with (frames labelled, frames in all).
    Raises BagError when the bag cannot be played or the segmenter ends before it.
    """
    output.mkdir(parents=True, exist_ok=True)
    keep_to_this_machine()
    config = with_calibration_of(config, bag)
    with BagReader(bag, config) as reader:
        sweeps = reader.sweeps
    log_path = output / "segmenter.log"
    with (
        log_path.open("w", encoding="utf-8") as log,
        SegmenterProcess(config, use_sim_time=True, log=log) as segmenter,
        Recorder(output / "labels", force=force) as recorder,
    ):
        _play_and_wait(bag, config, rate, sweeps, segmenter, recorder, progress, log_path)
    summary, samples = _sum_up(output / "labels", bag, config)
    summary.seconds /= rate
    summary.facts = {"bag": str(bag), "mode": "live over DDS", "rate": rate, **summary.facts}
    write_run_report(summary, samples, output, title=f"{bag.name}, live")
    return summary


def _play_and_wait(
    bag: Path,
    config: Config,
    rate: float,
    sweeps: int,
    segmenter: SegmenterProcess,
    recorder: Recorder,
    progress: Callable[[int, int], None] | None,
    log_path: Path,
) -> None:
    stop, failures = threading.Event(), []

    def play_bag() -> None:
        try:
            play(
                bag,
                rate=rate,
                clock=True,
                wait_for=[config.lidar.topic, *(c.image for c in config.cameras.values())],
                wait_timeout=START_TIMEOUT_S,
                stop=stop,
            )
        except SamAdaptError as error:
            failures.append(error)

    player = threading.Thread(target=play_bag, name="player", daemon=True)
    player.start()
    try:
        while True:
            playing = player.is_alive()
            ended = recorder.wait(
                {LABELS: sweeps}, idle_s=None if playing else IDLE_S, timeout_s=0.2 if playing else 2 * IDLE_S
            )
            if progress:
                progress(recorder.counts[LABELS], sweeps)
            if failures:
                raise failures[0]
            if segmenter.exit_code is not None:
                raise BagError(f"{bag}: the segmenter ended with code {segmenter.exit_code}; see {log_path}")
            if ended != "timeout" or not playing:
                return
    finally:
        stop.set()
        player.join()


def _sum_up(recording: Path, bag: Path, config: Config) -> tuple[Summary, list[Sample]]:
    """The recorded labels, judged by the bag's ground truth; pictures are of the bag's own frames."""
    labels: dict[int, dict[str, Any]] = {}
    diagnostics: dict[str, Any] = {}
    branches = {topic: branch for branch, topic in BRANCH_TOPICS.items()}
    first = last = 0
    with BagSource(recording) as source:
        for message in source.messages():
            decoded = message.decode()
            if message.topic in branches:
                _, class_id, _ = read_labels(decoded)
                labels.setdefault(stamp_ns(decoded.header), {})[branches[message.topic]] = class_id
                first, last = first or message.log_time_ns, message.log_time_ns
            else:
                diagnostics = read_diagnostics(decoded) or diagnostics
    segmenter, config = load_segmenter(config)  # for the taxonomy that the labels are of
    summary, samples = Summary(segmenter.taxonomy), []
    with BagReader(bag, config) as reader:
        pictured = evenly_spaced(reader.sweeps, PICTURES)
        for place, frame in enumerate(reader.frames()):
            by_branch = labels.get(frame.stamp_ns, {})
            if "fused" in by_branch:
                summary.add(by_branch, frame.ground_truth)
                if place in pictured:
                    samples.append(Sample(frame, by_branch["fused"]))
        summary.frames_in = reader.sweeps
    summary.dropped.update(diagnostics.get("dropped", {}))
    if unaccounted := summary.frames_in - summary.frames_labelled - sum(summary.dropped.values()):
        summary.dropped["not_recorded"] = unaccounted
    for camera, reasons in diagnostics.get("camera_drops", {}).items():
        summary.camera_drops.update({f"{reason}.{camera}": count for reason, count in reasons.items()})
    summary.latency_ms = diagnostics.get("latency_ms", {})
    summary.seconds = (last - first) / 1e9
    summary.facts = {name: diagnostics[name] for name in ("weights", "version", "device") if name in diagnostics}
    return summary, samples
