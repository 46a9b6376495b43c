"""The summary of a run: counts, latencies and, with ground truth, IoU. Written as ``summary.json``."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.notices import Notices, describe_counts
from sam_adapt_ros.taxonomy import Taxonomy


class RunSummary:
    """Gathers a run, frame by frame; live and offline runs fill the same one."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.frames_in = 0
        self.frames_labelled = 0
        self.points = self.points_labelled = 0
        self.points_seen_by_camera = 0
        self.dropped: Counter[str] = Counter()
        self.camera_drops: Counter[str] = Counter()
        self.notices = Notices()
        self.seconds = 0.0
        self.latencies: dict[str, list[float]] = {}
        self.latency_ms: dict[str, dict[str, float]] = {}
        self.evaluation = Evaluation(taxonomy)
        self.facts: dict[str, Any] = {}

    @classmethod
    def joined(cls, taxonomy: Taxonomy, parts: Mapping[str, RunSummary]) -> RunSummary:
        """Of several bags, by their names, as of one stream; without ``facts`` and ``seconds``."""
        joined = cls(taxonomy)
        for part in parts.values():
            for count in ("frames_in", "frames_labelled", "points", "points_labelled", "points_seen_by_camera"):
                setattr(joined, count, getattr(joined, count) + getattr(part, count))
            joined.dropped.update(part.dropped)
            joined.camera_drops.update(part.camera_drops)
            joined.evaluation += part.evaluation
            for stage, seconds in part.latencies.items():
                joined.latencies.setdefault(stage, []).extend(seconds)
        joined.notices = Notices.joined({name: part.notices for name, part in parts.items()})
        return joined

    def add(self, labels: BranchLabels, truth: NDArray[np.uint8] | None) -> None:
        """One labelled frame. truth: (N,) class ids, None without ground truth."""
        self.frames_labelled += 1
        self.points += len(labels[Branch.FUSED])
        self.points_labelled += int(np.count_nonzero(labels[Branch.FUSED] != IGNORE))
        if Branch.IMAGE in labels:
            self.points_seen_by_camera += int(np.count_nonzero(labels[Branch.IMAGE] != IGNORE))
        if truth is not None:
            self.evaluation.add_labels(truth, labels)

    def add_failure(self, error: NetworkError, stamp_ns: int) -> None:
        """One frame that the network failed on: it is dropped, with the reason, and the run goes on."""
        self.dropped[error.reason] += 1
        self.notices.add(
            error.reason,
            f"{error}; {self.dropped[error.reason]} sweeps were dropped for this ({error.reason}), the last one at "
            f"{stamp_ns * 1e-9:.3f}",
        )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time that the block takes to the latencies of ``stage``."""
        start = time.perf_counter()
        yield
        self.add_latencies({stage: time.perf_counter() - start})

    def add_latencies(self, seconds_by_stage: Mapping[str, float]) -> None:
        for stage, seconds in seconds_by_stage.items():
            self.latencies.setdefault(stage, []).append(seconds)

    @property
    def has_ground_truth(self) -> bool:
        return bool(self.evaluation.points)

    @property
    def failure(self) -> str:
        """Why the run has no result; "" when it has one."""
        if self.frames_labelled:
            no_label = self.points and not self.points_labelled
            return f"no point of {self.frames_labelled} frames got a label" if no_label else ""
        return f"none of {self.frames_in} frames was labelled ({describe_counts(self.dropped) or 'none was dropped'})"

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Milliseconds by stage: of the latencies added here, or as a live node reported them."""
        measured = {stage: _percentiles(values) for stage, values in self.latencies.items()}
        return {**self.latency_ms, **measured}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, None where a score is of no points."""
        self.notices.set(
            "ground_truth_empty",
            f"none of the {self.evaluation.frames} frames with true labels has a labelled point with a class of "
            f"{self.taxonomy.name} that the network sees: there is no IoU (ground_truth.topic, ground_truth.mapping)"
            if self.evaluation.frames and not self.has_ground_truth
            else "",
        )
        result: dict[str, Any] = {
            **self.facts,
            "frames_in": self.frames_in,
            "frames_labelled": self.frames_labelled,
            "dropped": dict(self.dropped),
            "camera_images_unused": dict(self.camera_drops),
            "notices": self.notices.as_dict(),
            "points": self.points,
            "points_seen_by_camera": self.points_seen_by_camera,
            "seconds": round(self.seconds, 3),
            "fps": round(self.frames_labelled / self.seconds, 3) if self.seconds else 0.0,
            "latency_ms": self.percentiles(),
        }
        if self.has_ground_truth:
            result |= self.evaluation.summary()
        values: dict[str, Any] = json_values(result)
        return values

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n")


def _percentiles(seconds: list[float]) -> dict[str, float]:
    p50, p90, p99 = np.percentile(np.asarray(seconds) * 1e3, [50, 90, 99])
    return {"p50": round(float(p50), 3), "p90": round(float(p90), 3), "p99": round(float(p99), 3)}
