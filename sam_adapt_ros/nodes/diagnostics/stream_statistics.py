"""What became of the frames: counts, rates, latencies. Thread-safe, and without ROS."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

WINDOW = 1000
"""Latency percentiles are over so many last frames."""
RATE_WINDOW_S = 5.0


class Statistics:
    """``frames_in`` = ``frames_labelled`` + all of ``dropped`` + the frames on their way."""

    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_labelled = 0
        self.points = 0
        self.points_seen_by_camera = 0
        self.dropped: Counter[str] = Counter()
        self.camera_drops: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._latencies: dict[str, deque[float]] = {}
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._labelled: deque[float] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()

    def arrived(self) -> None:
        """A sweep came in."""
        with self._lock:
            self.frames_in += 1
            self._arrivals.append(time.monotonic())

    def drop(self, reason: str) -> None:
        """A sweep will not be labelled."""
        with self._lock:
            self.dropped[reason] += 1

    def drop_image(self, camera: str, reason: str) -> None:
        """A sweep goes on without this camera."""
        with self._lock:
            self.camera_drops[f"{camera}.{reason}"] += 1

    def warn(self, reason: str) -> None:
        with self._lock:
            self.warnings[reason] += 1

    def labelled(self, points: int, seen: int, seconds_by_stage: Mapping[str, float]) -> None:
        with self._lock:
            self.frames_labelled += 1
            self.points += points
            self.points_seen_by_camera += seen
            self._labelled.append(time.monotonic())
            for stage, seconds in seconds_by_stage.items():
                self._latencies.setdefault(stage, deque(maxlen=WINDOW)).append(seconds)

    def rates(self) -> dict[str, float]:
        """Hz over the last seconds: ``frames_in`` and ``fps`` (labelled)."""
        with self._lock:
            return {"frames_in_hz": _rate(self._arrivals), "fps": _rate(self._labelled)}

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Percentiles by stage."""
        with self._lock:
            latencies = {stage: np.array(values) for stage, values in self._latencies.items()}
        return {
            stage: {f"p{q}": round(float(p) * 1e3, 3) for q, p in zip(PERCENTILES, points, strict=True)}
            for stage, points in ((stage, np.percentile(v, PERCENTILES)) for stage, v in latencies.items())
        }


PERCENTILES = (50, 90, 99)


def _rate(times: deque[float]) -> float:
    now = time.monotonic()
    recent = [t for t in times if now - t < RATE_WINDOW_S]
    return round((len(recent) - 1) / (recent[-1] - recent[0]), 2) if len(recent) > 1 else 0.0
