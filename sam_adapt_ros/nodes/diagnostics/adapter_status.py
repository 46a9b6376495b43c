"""``/adaptation/status``: how learning goes, in words for people and in numbers for programs."""

from __future__ import annotations

import math
import os
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import psutil
from diagnostic_msgs.msg import DiagnosticStatus

from sam_adapt_ros.adaptation.round_summary import account
from sam_adapt_ros.adaptation.weight_store.pointer import Pointer
from sam_adapt_ros.config import AdaptationConfig
from sam_adapt_ros.nodes.adapter.frame_intake import Observer
from sam_adapt_ros.nodes.adapter.training_thread import Learner
from sam_adapt_ros.nodes.diagnostics.segmenter_status import prefixed, status
from sam_adapt_ros.nodes.diagnostics.stream_statistics import Statistics

_RATE_SAMPLES = 60


class LearningStatus:
    """Made anew at every period; remembers how many frames were kept, so as to say when the next round is due."""

    def __init__(self, node: str, learner: Learner, config: AdaptationConfig) -> None:
        self._node, self._learner, self._config = node, learner, config
        self._kept: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)

    def __call__(self, rollbacks: int) -> DiagnosticStatus:
        learner, config = self._learner, self._config
        values: dict[str, Any] = {
            "phase": learner.phase,
            "mode": config.mode,
            "problem": learner.problem,
            "promotions": learner.counts["promotions"],
            "rejections": learner.counts["rejections"],
            "failures": learner.counts["failures"],
            "rollbacks": rollbacks,
            **self._of_adapter(),
            **_of_decision(learner),
        }
        if learner.since_round is not None:
            values["seconds_since_round"] = round(learner.since_round, 1)
        if learner.problem:
            level, message = DiagnosticStatus.ERROR, f"{learner.phase}: {learner.problem}"
        elif learner.paused:
            level, message = DiagnosticStatus.WARN, "paused by request"
        else:
            level, message = DiagnosticStatus.OK, learner.phase
        return status(level, f"{self._node}: learning", message, values)

    def _of_adapter(self) -> dict[str, Any]:
        adapter, rounds = self._learner.adapter, self._config.rounds
        if adapter is None:
            return {}
        buffer, lacking, losses = adapter.buffer, adapter.lacking, adapter.losses
        values: dict[str, Any] = {
            "round": adapter.rounds,
            "settled": int(self._learner.settled),
            "frames.training": len(buffer.training()),
            "frames.held_out": len(buffer.held_out()),
            "frames.min_frames": rounds.min_frames,
            "frames.min_held_out": rounds.min_held_out,
            **prefixed("frames.lacking", lacking),
            "frames.megabytes": round(buffer.nbytes / 1e6, 2),
            "metres_driven": round(buffer.distance_driven, 1),
            **prefixed("buffer", dict(buffer.counts)),
        }
        if losses:
            values |= prefixed("losses", {name: round(value, 4) for name, value in dict(losses[-1]).items()})
            values["losses.steps"] = len(losses)
        self._kept.append((time.monotonic(), buffer.counts["kept"]))
        seconds = self._until_next(max(lacking.values()))
        if seconds is not None and self._learner.phase in ("waiting", "watching"):
            values["seconds_to_next_round"] = round(seconds, 1)
        return values

    def _until_next(self, lacking: int) -> float | None:
        """At the rate at which frames were kept in the last minute or so."""
        if not lacking:
            return 0.0
        (start, before), (end, after) = self._kept[0], self._kept[-1]
        return lacking * (end - start) / (after - before) if after > before else None


def _of_decision(learner: Learner) -> dict[str, Any]:
    """The last decision, and what it says of the labels and the gate's numbers of the weights in use."""
    decision = learner.decision
    if decision is None:
        return {}
    values: dict[str, Any] = {
        "decision.promoted": decision.promoted or "nothing",
        "decision.reason": decision.reason,
        **prefixed("decision", _plain(decision.facts)),
    }
    verdicts = {verdict.name: verdict for verdict in (*decision.baselines, *decision.verdicts)}
    for name in dict.fromkeys(("current", "source", "batchnorm", decision.promoted)):
        if name in verdicts:
            numbers = {key: value for key, value in verdicts[name].numbers.items() if "/" not in key}
            values |= prefixed(f"gate.{name}", {key: round(value, 4) for key, value in numbers.items()})
    return values


def observation_status(node: str, statistics: Statistics, observer: Observer, waiting: list[str]) -> DiagnosticStatus:
    """What became of the sweeps and of the labels."""
    counts, pairing = dict(observer.counts), dict(observer.pairing.counts)
    if waiting:
        level, message = DiagnosticStatus.WARN, "waiting for " + "; ".join(waiting)
    else:
        level, message = DiagnosticStatus.OK, f"{pairing.get('paired', 0)} labelled frames seen"
    values = {
        "frames_in": statistics.frames_in,
        "frames_in_hz": statistics.rates()["frames_in_hz"],
        **prefixed("observed", counts),
        **prefixed("pairing", pairing),
        **prefixed("dropped", dict(statistics.dropped)),
        **prefixed("camera_drops", dict(statistics.camera_drops)),
        **prefixed("warnings", dict(statistics.warnings)),
    }
    return status(level, f"{node}: observation", message, values)


def account_of_frames(statistics: Statistics, observer: Observer, learner: Learner) -> list[str]:
    """What became of the frames that this process saw, and whether they are enough for a round; a line each."""
    fates = Counter(observer.counts)
    del fates["passed_over"]  # the buffer knows why
    fates += learner.passed_over
    fates["frame_without_labels"] += observer.pairing.counts["frame_without_labels"] + observer.pairing.waiting[0]
    fates += Counter(statistics.dropped)
    rounds, there = learner.config.adaptation.rounds, {"training": 0, "held_out": 0}
    if learner.adapter is not None:
        buffer = learner.adapter.buffer
        there = {"training": len(buffer.training()), "held_out": len(buffer.held_out())}
    needed = {"training": rounds.min_frames, "held_out": 0 if learner.observing else rounds.min_held_out}
    return account(statistics.frames_in, fates, there, needed)


def store_status(node: str, folder: str, pointer: Pointer | None, problem: str) -> DiagnosticStatus:
    """Which weights are in use. problem: why that is not known, "" when it is."""
    memory = psutil.Process(os.getpid()).memory_info().rss / 1e6
    values: dict[str, Any] = {"store": folder, "memory_mb": round(memory, 1)}
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


def _plain(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested facts under dotted names; numbers that are not known (nan) are left out."""
    values: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            values |= _plain(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            if math.isfinite(value):
                values[f"{prefix}{key}"] = round(value, 4)
        elif isinstance(value, bool | int | str):
            values[f"{prefix}{key}"] = value
    return values
