"""The statuses of the segmenter: stream, latency, model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import process_memory_mb, status
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot
from sam_adapt_ros.nodes.segmenter.weights_manager import WeightsManager


def stream_status(
    node: str,
    statistics: StreamStatistics,
    waiting: list[str],
    new_drops: Mapping[str, int],
    sync_counts: Mapping[str, int],
) -> DiagnosticStatus:
    """Frames, rates and drops.

    new_drops: sweeps dropped since the last time, by reason. sync_counts: as the synchronizer counts.
    """
    fps = statistics.rates()["fps"]
    if new_drops:
        drops = ", ".join(f"{count} {reason}" for reason, count in new_drops.items())
        level, message = DiagnosticStatus.WARN, f"dropped {drops}"
    elif waiting:
        level, message = DiagnosticStatus.WARN, "waiting for " + "; ".join(waiting)
    elif statistics.notices:
        level, message = DiagnosticStatus.WARN, f"labelling at {fps:.1f} Hz; " + "; ".join(statistics.notices)
    else:
        level, message = DiagnosticStatus.OK, f"labelling at {fps:.1f} Hz"
    values = {
        **statistics.report(),
        "fps": fps,
        "frames_labelled": statistics.frames_labelled,
        "points": statistics.points,
        "points_seen_by_camera": statistics.points_seen_by_camera,
        "synchronizer": sync_counts,
    }
    return status(level, f"{node}: stream", message, values)


def latency_status(node: str, statistics: StreamStatistics) -> DiagnosticStatus:
    """Milliseconds by stage. ``total`` is from the sweep's arrival to its labels' publication, ``overhead`` that less
    ``model``."""
    by_stage = statistics.latency_ms()
    total = by_stage.get("total")
    message = f"{total['p50']:.0f} ms (p99 {total['p99']:.0f} ms)" if total else "no frame yet"
    return status(DiagnosticStatus.OK, f"{node}: latency", message, {"latency_ms": by_stage})


def model_status(
    node: str, slot: SegmenterSlot | None, weights: str, manager: WeightsManager | None = None
) -> DiagnosticStatus:
    """Which weights run on which device, the weight store's state, and the memory that the process takes."""
    values: dict[str, Any] = {"weights": weights, "memory_mb": process_memory_mb()}
    if slot is None:
        return status(DiagnosticStatus.WARN, f"{node}: model", "not loaded", values)
    segmenter = slot.current
    problem = (manager.problem if manager is not None else "") or slot.problem
    values |= {
        "version": segmenter.version,
        "network": segmenter.network.architecture.network,
        "taxonomy": segmenter.taxonomy.name,
        "device": str(segmenter.device),
        "swaps": slot.swaps,
        "swap_ms": slot.swap_ms,
        **(manager.report() if manager is not None else {"following": ""}),
        "problem": problem,
    }
    if segmenter.device.type == "cuda":
        import torch

        values["gpu_memory_mb"] = round(torch.cuda.memory_allocated(segmenter.device) / 1e6, 1)
    level = DiagnosticStatus.WARN if problem else DiagnosticStatus.OK
    message = (
        f"{segmenter.version} stays in use: {problem}" if problem else f"{segmenter.version} on {segmenter.device}"
    )
    return status(level, f"{node}: model", message, values)
