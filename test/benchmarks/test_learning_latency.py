"""Latencies by what the adapter does meanwhile."""

from types import SimpleNamespace
from typing import Any

import pytest

from sam_adapt_ros.benchmarks.learning_latency import LearningLatency, frequent_rounds
from sam_adapt_ros.config import Config

MS = 1_000_000


def probe(**changes: Any) -> Any:
    """Sweeps every 100 ms, labelled 30 ms later; a round is reported from 450 to 740 ms, and no more at 750 ms."""
    values: dict[str, Any] = {
        "sent": {stamp: stamp * 100 * MS for stamp in range(10)},
        "labelled": {stamp: stamp * 100 * MS + 30 * MS for stamp in range(10)},
        "phases": [
            (0, "waiting"),
            (450 * MS, "training"),
            (600 * MS, "evaluation"),
            (740 * MS, "evaluation"),
            (750 * MS, "waiting"),
        ],
    }
    return SimpleNamespace(**{**values, **changes})


def test_a_frame_counts_as_learning_when_a_round_runs_for_all_of_its_time() -> None:
    labelled = probe().labelled
    labelled[5] += 1 * MS
    labelled[6] += 2 * MS
    labelled[7] += 15 * MS  # at 745 ms: the round may have ended by then
    times = LearningLatency(probe(labelled=labelled), resumed_ns=400 * MS, warm_up=1)
    assert times.learning.tolist() == pytest.approx([31.0, 32.0])
    assert times.without.tolist() == pytest.approx([30.0, 30.0, 30.0])  # sweeps 1 to 3
    assert times.after_start.tolist() == pytest.approx([31.0, 32.0, 45.0, 30.0, 30.0])
    assert [times.phase(when * MS) for when in (-1, 10, 500, 900)] == ["", "waiting", "training", "waiting"]


def test_what_began_before_a_round_or_was_never_labelled_is_not_learning() -> None:
    found = probe()
    found.labelled[4] = 460 * MS
    del found.labelled[6]
    times = LearningLatency(found, resumed_ns=350 * MS, warm_up=0)
    assert times.learning.tolist() == pytest.approx([30.0, 30.0])  # 5 and 7; 4 was sent before the round
    assert len(times.without) + len(times.after_start) == 9


def test_frequent_rounds_are_parameters_that_can_be_met() -> None:
    config = Config.load("town", frequent_rounds(buffer=40, new_frames=5, steps=7))
    adaptation = config.adaptation
    assert adaptation.self_training.steps == 7
    assert adaptation.rounds.min_frames + adaptation.rounds.min_held_out < adaptation.buffer.max_frames
