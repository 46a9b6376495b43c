"""The statuses of the adapter: learning, the frames it sees, the weight store."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from sam_adapt_ros.adaptation.round_summary import account
from sam_adapt_ros.adaptation.weight_store.pointer import Pointer
from sam_adapt_ros.nodes.adapter.exact_time_sync import ExactTimeSync
from sam_adapt_ros.nodes.adapter.frame_intake import FrameIntake
from sam_adapt_ros.nodes.adapter.training_thread import TrainingThread
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import process_memory_mb, status
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics

_RATE_SAMPLES = 60


class LearningStatus:
    """Called at every diagnostics period; keeps how many frames were kept, to estimate when the next round begins."""

    def __init__(self, node: str, training: TrainingThread) -> None:
        self._node, self._training = node, training
        self._kept: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)

    def __call__(self, rollbacks: int) -> DiagnosticStatus:
        training = self._training
        values: dict[str, Any] = {
            "phase": training.phase,
            "mode": training.config.adaptation.mode,
            "problem": training.problem,
            **{name: training.counts[name] for name in ("promotions", "rejections", "failures")},
            "rollbacks": rollbacks,
            "seconds_since_round": None
            if training.ended_at is None
            else round(time.monotonic() - training.ended_at, 1),
            **self._adapter_values(),
            **_decision_values(training),
        }
        if training.problem:
            level, message = DiagnosticStatus.ERROR, f"{training.phase}: {training.problem}"
        elif training.paused:
            level, message = DiagnosticStatus.WARN, "paused by request"
        else:
            level, message = DiagnosticStatus.OK, training.phase
        return status(level, f"{self._node}: learning", message, values)

    def _adapter_values(self) -> dict[str, Any]:
        adapter, rounds = self._training.adapter, self._training.config.adaptation.rounds
        if adapter is None:
            return {}
        buffer, lacking, losses = adapter.buffer, adapter.lacking, adapter.losses
        self._kept.append((time.monotonic(), buffer.counts["kept"]))
        return {
            "round": adapter.rounds,
            "settled": int(self._training.settled),
            "frames": {
                "training": len(buffer.training()),
                "held_out": len(buffer.held_out()),
                "min_frames": rounds.min_frames,
                "min_held_out": rounds.min_held_out,
                "lacking": lacking,
                "megabytes": round(buffer.nbytes / 1e6, 2),
            },
            "metres_driven": round(buffer.distance_driven, 1),
            "buffer": dict(buffer.counts),
            "losses": {**losses[-1], "steps": len(losses)} if losses else {},
            "seconds_to_next_round": self._seconds_to_next_round(max(lacking.values())),
        }

    def _seconds_to_next_round(self, lacking: int) -> float | None:
        """At the rate at which frames were kept in the last minute or so."""
        if self._training.phase not in ("waiting", "watching"):
            return None
        if not lacking:
            return 0.0
        (start, before), (end, after) = self._kept[0], self._kept[-1]
        return round(lacking * (end - start) / (after - before), 1) if after > before else None


def _decision_values(training: TrainingThread) -> dict[str, Any]:
    """The last decision, its facts, and the gate's figures of the weights that it compared."""
    decision = training.decision
    if decision is None:
        return {}
    verdicts = {verdict.name: verdict for verdict in (*decision.baselines, *decision.verdicts)}
    shown = dict.fromkeys(name for name in ("current", "source", "batchnorm", decision.promoted) if name in verdicts)
    return {
        "decision": {"promoted": decision.promoted or "nothing", "reason": decision.reason, **decision.facts},
        "gate": {
            name: {key: value for key, value in verdicts[name].numbers.items() if "/" not in key} for name in shown
        },
    }


def observation_status(
    node: str, statistics: StreamStatistics, sync: ExactTimeSync, intake: FrameIntake, waiting: list[str]
) -> DiagnosticStatus:
    """What became of the sweeps and of the labels."""
    if waiting:
        level, message = DiagnosticStatus.WARN, "waiting for " + "; ".join(waiting)
    elif statistics.notices:
        level, message = DiagnosticStatus.WARN, "; ".join(statistics.notices)
    else:
        level, message = DiagnosticStatus.OK, f"{sync.counts['paired']} labelled frames seen"
    values = {**statistics.report(), "observed": dict(intake.counts), "pairing": dict(sync.counts)}
    return status(level, f"{node}: observation", message, values)


def account_of_frames(
    statistics: StreamStatistics, sync: ExactTimeSync, intake: FrameIntake, training: TrainingThread
) -> list[str]:
    """What became of the frames that this process saw, and whether they are enough for a round; a line each."""
    fates = Counter(intake.counts)
    del fates["passed_over"]  # the buffer knows why
    fates += training.passed_over
    fates["frame_without_labels"] += sync.counts["frame_without_labels"] + sync.waiting[0]
    fates += Counter(statistics.dropped)
    rounds, there = training.config.adaptation.rounds, {"training": 0, "held_out": 0}
    if training.adapter is not None:
        buffer = training.adapter.buffer
        there = {"training": len(buffer.training()), "held_out": len(buffer.held_out())}
    needed = {"training": rounds.min_frames, "held_out": 0 if training.observing else rounds.min_held_out}
    return account(statistics.frames_in, fates, there, needed)


def store_status(node: str, folder: str, pointer: Pointer | None, problem: str) -> DiagnosticStatus:
    """Which weights are in use. problem: why that is not known, "" when it is."""
    values: dict[str, Any] = {"store": folder, "memory_mb": process_memory_mb()}
    if pointer is None:
        level = DiagnosticStatus.ERROR if problem else DiagnosticStatus.WARN
        return status(level, f"{node}: store", problem or "not open yet", values)
    values |= {
        "current": pointer.current,
        "previous": pointer.previous,
        "source": pointer.source,
        "changed": pointer.changed,
        "change_reason": pointer.reason,
    }
    return status(DiagnosticStatus.OK, f"{node}: store", f"{pointer.current} in use", values)
