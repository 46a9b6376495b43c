"""Influence of learning on the latency of labels: one live drive by night, first without learning, then with it."""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.learning_latency import LearningLatency, frequent_rounds, percentile_99, two_cores
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.pipelines.simulated_drives import town_bag

if TYPE_CHECKING:
    from sam_adapt_ros.nodes.tools.latency_probe import LatencyProbe

RATE = 0.5
"""Playback speed of the recorded two frames per second, which two cores can label while one of them learns."""
WARM_UP = 5
"""Number of first frames that do not count."""


@dataclass(frozen=True)
class Protocol:
    """A drive of ``frames`` frames, the first ``idle`` of them without learning, and the size of a round.

    min_frames: frames required both without and with learning.
    """

    frames: int = 360
    idle: int = 120
    min_frames: int = 60
    buffer: int = 40  # frames, a fifth of them held out
    new_frames: int = 10
    steps: int = 40


# Long enough for a round to end.
QUICK = Protocol(frames=60, idle=20, min_frames=5, buffer=15, new_frames=3, steps=5)


def run(quick: bool = False) -> list[Figure]:
    """Runs the nodes on two cores as they are launched, with frames at 1 Hz, for 6 minutes (1 when quick).

    The adapter is paused for the first part. Then it learns whenever it has new frames, and its gate promotes almost
    everything, so that weights are swapped.

    Raises:
        SamAdaptError: too few frames were labelled without learning, or with it.
    """
    protocol = QUICK if quick else Protocol()
    from sam_adapt_ros.nodes.tools.latency_probe import LatencyProbe
    from sam_adapt_ros.pipelines.live_bag import drive_live, keep_to_this_machine

    bag = town_bag("night", 100, protocol.frames)
    keep_to_this_machine()
    with two_cores(), tempfile.TemporaryDirectory() as folder:
        rounds = frequent_rounds(protocol.buffer, protocol.new_frames, protocol.steps)
        config = Config.load("town", {**rounds, "adaptation.store.folder": str(Path(folder) / "store")})
        with LatencyProbe(config.lidar.topic) as probe:
            schedule = _Schedule(probe, protocol.idle)
            recording = drive_live(
                bag, config, Path(folder), rate=RATE, force=True, stages=lambda title: nullcontext(schedule)
            )
    times = LearningLatency(probe, schedule.resumed_ns, WARM_UP)
    lost = {stamp: sent for stamp, sent in probe.sent.items() if Branch.FUSED not in recording.labels.get(stamp, {})}
    lost_in_swaps = recording.lost_in_swaps(probe.sent)
    return _figures(protocol, times, lost, len(lost_in_swaps), recording.segmenter[-1][1], recording.adapter[-1][1])


def _figures(
    protocol: Protocol,
    times: LearningLatency,
    lost: dict[int, int],
    lost_in_swaps: int,
    segmenter: dict[str, Any],
    adapter: Any,
) -> list[Figure]:
    """lost: publication time by stamp of sweeps without labels. segmenter, adapter: their last reports."""
    without, learning, after_start = times.without, times.learning, times.after_start
    if min(len(without), len(learning)) < protocol.min_frames:
        raise SamAdaptError(
            f"isolation: {protocol.min_frames} labelled frames without learning and as many while learning expected, "
            f"got {len(without)} and {len(learning)}; run it again on a machine with less other load"
        )
    p99, p99_learning = percentile_99(without), percentile_99(learning)
    # The image is taken after the sweep; this part of the latency does not depend on the nodes.
    wait = segmenter["latency_ms"]["wait"]["p50"]
    rounds = f"{adapter['promotions']} promotions, {adapter['rejections']} rejections, {adapter['rollbacks']} rollbacks"
    lost_learning = sum(times.phase(sent) in times.rounds for sent in lost.values())
    others = len(lost) - lost_learning
    return [
        Figure("latency without learning, p50", float(np.median(without)), "ms", note=f"{len(without)} frames"),
        Figure("latency without learning, p99", p99, "ms"),
        Figure("latency while learning, p50", float(np.median(learning)), "ms", note=f"{len(learning)} frames"),
        Figure("latency while learning, p99", p99_learning, "ms"),
        Figure("p99 while learning / without", p99_learning / p99, "", "<= 1.1", f"{wait:.0f} ms wait for the image"),
        Figure("p99 while learning / without, less the wait", (p99_learning - wait) / (p99 - wait), "", "<= 1.1"),
        Figure(
            "p99 since learning began / without",
            percentile_99(after_start) / p99,
            "",
            note="loading and swaps included",
        ),
        Figure("frames lost while learning", lost_learning, f"of {protocol.frames}", "0", f"{others} at other times"),
        Figure("frames lost by swaps", lost_in_swaps, f"of {protocol.frames}", "0"),
        Figure("hot swaps", segmenter["swaps"], "", ">= 1", rounds),
        Figure("swap, max", segmenter["swap_ms"]["max"], "ms", "<= 2 ms", "time of the inference thread"),
        Figure("adapter's memory at the end", adapter["memory_mb"], "MB", note=f"{adapter['round']} rounds"),
    ]


class _Schedule:
    """Progress callback that pauses learning before the first labelled frame and resumes it after ``idle`` frames."""

    def __init__(self, probe: LatencyProbe, idle: int) -> None:
        self._probe, self._idle = probe, idle
        self._paused = False
        self.resumed_ns = 0

    def __call__(self, labelled: int, frames: int) -> None:
        if self.resumed_ns or self._paused == (labelled < self._idle):
            return
        self._paused = not self._paused
        now = time.time_ns()
        self._probe.pause(self._paused)
        if not self._paused:
            self.resumed_ns = now
