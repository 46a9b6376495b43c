"""What learning costs the label stream: one live drive by night, first without learning, then with it."""

from __future__ import annotations

import os
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.pipelines.simulated_drives import town_bag

if TYPE_CHECKING:
    from sam_adapt_ros.nodes.tools.latency_probe import LatencyProbe

CORES = 2
RATE = 0.5
"""Of the recorded two frames a second: what two cores label while one of them learns."""
WARM_UP = 5
"""First frames, which do not count."""


@dataclass(frozen=True)
class Plan:
    """A drive of ``frames``, the first ``idle`` of them without learning; what rounds are made of.

    least: frames without and with learning, below which there is nothing to report.
    """

    frames: int = 360
    idle: int = 120
    least: int = 60
    buffer: int = 40  # frames, a fifth of them held out
    new_frames: int = 10
    steps: int = 40


# The shortest drive in which a round can be expected to end.
QUICK = Plan(frames=60, idle=20, least=5, buffer=15, new_frames=3, steps=5)


def run(quick: bool = False) -> list[Figure]:
    """The nodes on two cores, as launched: the adapter has one thread. Frames come at 1 Hz, for 6 minutes (1 if quick).

    The adapter is paused for the first part; from then on it learns as soon as it has new frames, and its gate lets
    through almost everything, so that weights are exchanged. A frame's latency is from the moment its sweep is
    published to its labels' arrival at another process; it counts as learning when a round is under way from before
    the one to after the other.

    Raises SamAdaptError when too few frames were labelled without learning, or with it.
    """
    plan = QUICK if quick else Plan()
    from sam_adapt_ros.nodes.tools.latency_probe import LatencyProbe
    from sam_adapt_ros.pipelines.live_bag import drive_live, keep_to_this_machine

    bag = town_bag("night", 100, plan.frames)
    keep_to_this_machine()
    with _few_cores(), tempfile.TemporaryDirectory() as folder:
        config = _config(plan, Path(folder) / "store")
        with LatencyProbe(config.lidar.topic) as stopwatch:
            schedule = _Schedule(stopwatch, plan.idle)
            recording = drive_live(
                bag, config, Path(folder), rate=RATE, force=True, stages=lambda title: nullcontext(schedule)
            )
    times = _Times(stopwatch, schedule.resumed_ns)
    lost = {
        stamp: sent for stamp, sent in stopwatch.sent.items() if Branch.FUSED not in recording.labels.get(stamp, {})
    }
    lost_in_swaps = recording.lost_in_swaps(stopwatch.sent)
    return _figures(plan, times, lost, len(lost_in_swaps), recording.segmenter[-1][1], recording.adapter[-1][1])


def _figures(
    plan: Plan, times: _Times, lost: dict[int, int], lost_in_swaps: int, segmenter: dict[str, Any], adapter: Any
) -> list[Figure]:
    """lost: sweeps without labels and when they were published. segmenter, adapter: what they reported last."""
    without, learning, onwards = times.without, times.learning, times.onwards
    if min(len(without), len(learning)) < plan.least:
        raise SamAdaptError(
            f"{plan.least} frames without learning and {plan.least} while learning expected, "
            f"got {len(without)} and {len(learning)}"
        )
    p99, p99_learning = _p99(without), _p99(learning)
    # The image is exposed after the sweep: this part of the latency nobody can lengthen or shorten.
    wait = segmenter["latency_ms"]["wait"]["p50"]
    rounds = f"{adapter['promotions']} promotions, {adapter['rejections']} rejections, {adapter['rollbacks']} rollbacks"
    lost_learning = sum(times.phase(sent) in times.rounds for sent in lost.values())
    others = len(lost) - lost_learning
    return [
        Figure("latency without learning, p50", float(np.median(without)), "ms", note=f"{len(without)} frames"),
        Figure("latency without learning, p99", p99, "ms"),
        Figure("latency while learning, p50", float(np.median(learning)), "ms", note=f"{len(learning)} frames"),
        Figure("latency while learning, p99", p99_learning, "ms"),
        Figure("p99 while learning / without", p99_learning / p99, "", "<= 1.25", f"{wait:.0f} ms wait for the image"),
        Figure("p99 while learning / without, less the wait", (p99_learning - wait) / (p99 - wait), "", "<= 1.25"),
        Figure("p99 since learning began / without", _p99(onwards) / p99, "", note="loading and swaps included"),
        Figure("frames lost while learning", lost_learning, f"of {plan.frames}", "0", f"{others} at other times"),
        Figure("frames lost by swaps", lost_in_swaps, f"of {plan.frames}", "0"),
        Figure("hot swaps", segmenter["swaps"], "", ">= 1", rounds),
        Figure("swap, max", segmenter["swap_ms"]["max"], "ms", "<= 2 ms", "of the inference thread's time"),
        Figure("adapter's memory at the end", adapter["memory_mb"], "MB", note=f"{adapter['round']} rounds begun"),
    ]


def _p99(latencies: NDArray[np.float64]) -> float:
    return float(np.percentile(latencies, 99))


def _config(plan: Plan, store: Path) -> Config:
    """As shipped, but for small and frequent rounds, and a gate that only refuses what is worse than the source."""
    gate = {
        "criteria": ["consistency"],
        "consistency_tolerance": 1.0,
        "pseudo_label_tolerance": 1.0,
        "min_pseudo_label_gain": 0.0,
    }
    held_out = plan.buffer // 5
    adaptation = {
        "store.folder": str(store),
        "buffer.max_frames": plan.buffer,
        "rounds.min_frames": (plan.buffer - held_out) // 2,
        "rounds.min_held_out": max(1, held_out // 3),
        "rounds.new_frames": plan.new_frames,
        "self_training.steps": plan.steps,
        **{f"gate.{name}": value for name, value in gate.items()},
    }
    return Config.load("town", {f"adaptation.{name}": value for name, value in adaptation.items()})


class _Schedule:
    """Called with the frames labelled so far: pauses learning before the first, and ends the pause after ``idle``."""

    def __init__(self, stopwatch: LatencyProbe, idle: int) -> None:
        self._stopwatch, self._idle = stopwatch, idle
        self._paused = False
        self.resumed_ns = 0

    def __call__(self, labelled: int, frames: int) -> None:
        if self.resumed_ns or self._paused == (labelled < self._idle):
            return
        self._paused = not self._paused
        now = time.time_ns()
        self._stopwatch.pause(self._paused)
        if not self._paused:
            self.resumed_ns = now


class _Times:
    """Latencies in ms: ``without`` learning, ``learning``, and of all frames since learning began (``onwards``)."""

    def __init__(self, stopwatch: LatencyProbe, resumed_ns: int) -> None:
        from sam_adapt_ros.pipelines.live_bag import ROUND_PHASES

        self.rounds = ROUND_PHASES
        self._phases = sorted(stopwatch.phases)
        self._reported = [when for when, _ in self._phases]
        spans = [(sent, stopwatch.labelled.get(stamp)) for stamp, sent in sorted(stopwatch.sent.items())[WARM_UP:]]
        whole = [(sent, came) for sent, came in spans if came is not None]
        self.without = self._latencies([span for span in whole if span[1] <= resumed_ns])
        self.onwards = self._latencies([span for span in whole if span[0] > resumed_ns])
        self.learning = self._latencies([span for span in whole if self._learning(*span)])

    def phase(self, when: int) -> str:
        """What the adapter had reported last."""
        place = bisect_right(self._reported, when)
        return self._phases[place - 1][1] if place else ""

    def _learning(self, sent: int, came: int) -> bool:
        after = bisect_left(self._reported, came)
        reported_after = self._phases[after][1] if after < len(self._phases) else ""
        return self.phase(sent) in self.rounds and reported_after in self.rounds

    @staticmethod
    def _latencies(spans: list[tuple[int, int]]) -> NDArray[np.float64]:
        return np.array([came - sent for sent, came in spans], np.float64) * 1e-6


@contextmanager
def _few_cores() -> Iterator[None]:
    """Keeps this thread, and the processes and threads that it starts, to two cores."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)
