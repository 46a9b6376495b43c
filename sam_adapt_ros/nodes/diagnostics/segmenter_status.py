"""``/diagnostics``: how the stream does, in words for people and in numbers for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psutil
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from sam_adapt_ros.nodes.diagnostics.stream_statistics import Statistics
from sam_adapt_ros.nodes.segmenter.hot_swap import Model
from sam_adapt_ros.nodes.segmenter.weights_manager import Following

HARDWARE_ID = "sam_adapt_ros"


def stream_status(
    node: str,
    statistics: Statistics,
    waiting: list[str],
    new_drops: Mapping[str, int],
    sync_counts: Mapping[str, int],
) -> DiagnosticStatus:
    """Frames, rates and drops.

    new_drops: sweeps dropped since the last time, by reason. sync_counts: as the synchronizer counts.
    """
    rates = statistics.rates()
    if new_drops:
        level, message = (
            DiagnosticStatus.WARN,
            "dropped " + ", ".join(f"{n} {reason}" for reason, n in new_drops.items()),
        )
    elif waiting:
        level, message = DiagnosticStatus.WARN, "waiting for " + "; ".join(waiting)
    else:
        level, message = DiagnosticStatus.OK, f"labelling at {rates['fps']:.1f} Hz"
    return status(
        level,
        f"{node}: stream",
        message,
        {
            "frames_in": statistics.frames_in,
            "frames_labelled": statistics.frames_labelled,
            "points": statistics.points,
            "points_seen_by_camera": statistics.points_seen_by_camera,
            **rates,
            **prefixed("dropped", dict(statistics.dropped)),
            **prefixed("camera_drops", dict(statistics.camera_drops)),
            **prefixed("warnings", dict(statistics.warnings)),
            **prefixed("synchronizer", sync_counts),
        },
    )


def latency_status(node: str, statistics: Statistics) -> DiagnosticStatus:
    """Milliseconds by stage. ``total`` is from the sweep's arrival to its labels' departure, ``overhead`` that less
    ``model``."""
    by_stage = statistics.latency_ms()
    total = by_stage.get("total")
    message = f"{total['p50']:.0f} ms (p99 {total['p99']:.0f} ms)" if total else "no frame yet"
    values = {f"latency_ms.{stage}.{q}": value for stage, row in by_stage.items() for q, value in row.items()}
    return status(DiagnosticStatus.OK, f"{node}: latency", message, values)


def model_status(node: str, model: Model | None, weights: str, following: Following | None = None) -> DiagnosticStatus:
    """Which weights run where, what the store that is followed says, and what the process takes."""
    values: dict[str, Any] = {
        "weights": weights,
        "memory_mb": round(psutil.Process(os.getpid()).memory_info().rss / 1e6, 1),
    }
    if model is None:
        return status(DiagnosticStatus.WARN, f"{node}: model", "not loaded", values)
    segmenter = model.current
    values |= {
        "version": segmenter.version,
        "taxonomy": segmenter.taxonomy.name,
        "device": str(segmenter.device),
        "swaps": model.swaps,
        **{f"swap_ms.{name}": value for name, value in model.swap_ms.items()},
        "following": "",
        **(following.report() if following is not None else {}),
        "problem": (following.problem if following is not None else "") or model.problem,
    }
    if segmenter.device.type == "cuda":
        import torch

        values["gpu_memory_mb"] = round(torch.cuda.memory_allocated(segmenter.device) / 1e6, 1)
    problem = values["problem"]
    level = DiagnosticStatus.WARN if problem else DiagnosticStatus.OK
    message = f"kept {segmenter.version}: {problem}" if problem else f"{segmenter.version} on {segmenter.device}"
    return status(level, f"{node}: model", message, values)


def read_diagnostics(msg: Any, node: str = "segmenter") -> dict[str, Any]:
    """What ``node`` says in a DiagnosticArray (rclpy's or rosbags'), as one nested mapping with numbers as numbers.

    For example ``{"frames_in": 5, "dropped": {"overload": 1}, "latency_ms": {"total": {"p50": 3.2, ...}}, ...}``; empty
    when the array holds nothing of that node.
    """
    nested: dict[str, Any] = {}
    for status in msg.status:
        if not status.name.startswith(f"{node}: "):
            continue
        for pair in status.values:
            *sections, leaf = pair.key.split(".")
            place = nested
            for section in sections:
                place = place.setdefault(section, {})
            place[leaf] = _number(pair.value)
    return nested


def diagnostic_array(stamp: Any, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message


def status(level: bytes, name: str, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=HARDWARE_ID, values=pairs)


def prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
