"""Latency of labels by what the adapter does meanwhile, and the settings that make it learn nearly all the time."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sam_adapt_ros.nodes.tools.latency_probe import LatencyProbe

CORES = 2
LENIENT_GATE: dict[str, Any] = {
    "adaptation.gate.criteria": ["consistency"],
    "adaptation.gate.consistency_tolerance": 1.0,
    "adaptation.gate.pseudo_label_tolerance": 1.0,
    "adaptation.gate.min_pseudo_label_gain": 0.0,
    "adaptation.gate.confidence": 0.0,
    "adaptation.gate.fused_tolerance": 1.0,
}
"""Parameters of a gate that promotes nearly everything."""


class LearningLatency:
    """Latencies, ms: ``without`` learning, while ``learning``, and of all frames since its start (``after_start``).

    The latency of a frame is the time from the publication of its sweep to the arrival of its labels in another
    process. A frame counts as learning when a round runs for all of that time.
    """

    def __init__(self, probe: LatencyProbe, resumed_ns: int, warm_up: int) -> None:
        """resumed_ns: when learning began, as the probe counts. warm_up: number of first frames that do not count."""
        from sam_adapt_ros.pipelines.live_bag import ROUND_PHASES

        self.rounds = ROUND_PHASES
        self._phases = sorted(probe.phases)
        self._reported = [when for when, _ in self._phases]
        spans = [(sent, probe.labelled.get(stamp)) for stamp, sent in sorted(probe.sent.items())[warm_up:]]
        complete = [(sent, arrived) for sent, arrived in spans if arrived is not None]
        self.without = self._latencies([span for span in complete if span[1] <= resumed_ns])
        self.after_start = self._latencies([span for span in complete if span[0] > resumed_ns])
        self.learning = self._latencies([span for span in complete if self._learning(*span)])

    def phase(self, when: int) -> str:
        """The phase that the adapter had reported last at a time."""
        place = bisect_right(self._reported, when)
        return self._phases[place - 1][1] if place else ""

    def _learning(self, sent: int, arrived: int) -> bool:
        after = bisect_left(self._reported, arrived)
        reported_after = self._phases[after][1] if after < len(self._phases) else ""
        return self.phase(sent) in self.rounds and reported_after in self.rounds

    @staticmethod
    def _latencies(spans: list[tuple[int, int]]) -> NDArray[np.float64]:
        return np.array([arrived - sent for sent, arrived in spans], np.float64) * 1e-6


def percentile_99(latencies: NDArray[np.float64]) -> float:
    return float(np.percentile(latencies, 99))


def frequent_rounds(buffer: int, new_frames: int, steps: int) -> dict[str, Any]:
    """Parameters of small and frequent rounds, with a gate that rejects only weights worse than the source model.

    buffer: frames, a fifth of them held out. new_frames: kept between two rounds. steps: of training, a round.
    """
    held_out = buffer // 5
    return {
        "adaptation.buffer.max_frames": buffer,
        "adaptation.rounds.min_frames": (buffer - held_out) // 2,
        "adaptation.rounds.min_held_out": max(1, held_out // 3),
        "adaptation.rounds.new_frames": new_frames,
        "adaptation.self_training.steps": steps,
        **LENIENT_GATE,
    }


@contextmanager
def two_cores() -> Iterator[None]:
    """Restricts this thread, and the processes and threads that it starts, to two cores."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)
