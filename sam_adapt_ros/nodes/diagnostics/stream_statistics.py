"""Counts, rates and latencies of the sensor stream. Thread-safe, without ROS."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_adapt_ros.nodes.throttled_logger import ThrottledLogger
from sam_adapt_ros.notices import Notices

WINDOW = 1000
"""Latency percentiles are over this many frames."""
PERCENTILES = (50, 90, 99)
RATE_WINDOW_S = 5.0

EXPLANATIONS = {
    "overload": "inference is slower than the sweeps arrive; a smaller network, fewer cameras or a GPU help",
    "stopped": "the node is stopping",
    "stamp_zero": "its header.stamp is zero; the driver has to stamp its messages",
    "out_of_order": "its header.stamp is not newer than that of the sweep before; do two drivers publish on its topic?",
    "sync_queue_full": "too many sweeps wait for their images; lower sync.camera_timeout or raise sync.queue_size",
    "message_lost": "the middleware lost it; start the drivers with the profile config/fastdds.xml, too",
    "no_image": "no image came within sync.camera_timeout and sync.camera_tolerance; check its topic and its stamps",
}
"""Why a sweep or an image is dropped and what helps, by reason; other reasons come with the text of an error."""


class StreamStatistics:
    """One call counts and logs (throttled) each dropped item, so that every drop is reported.

    ``frames_in`` = ``frames_labelled`` + the sum of ``dropped`` + the frames under way.
    ``notices``: what is degraded, in words.
    """

    def __init__(self, log: ThrottledLogger) -> None:
        self.frames_in = 0
        self.frames_labelled = 0
        self.points = 0
        self.points_seen_by_camera = 0
        self.dropped: Counter[str] = Counter()
        self.camera_drops: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.notices = Notices(log.warning)
        self._log = log
        self._latencies: dict[str, deque[float]] = {}
        self._arrivals: deque[float] = deque(maxlen=WINDOW)
        self._labelled: deque[float] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()

    def arrived(self) -> None:
        """A sweep came in."""
        with self._lock:
            self.frames_in += 1
            self._arrivals.append(time.monotonic())

    def drop(self, reason: str, stamp_ns: int = 0, details: str = "") -> None:
        """A sweep will not be labelled."""
        with self._lock:
            self.dropped[reason] += 1
        at = f" at {stamp_ns * 1e-9:.3f}" if stamp_ns else ""
        self._log.warning(f"sweep dropped ({reason})", f"{at}: {_explained(reason, details)}")

    def drop_image(self, camera: str, reason: str, details: str = "") -> None:
        """A sweep is labelled without this camera."""
        with self._lock:
            self.camera_drops[f"{camera}.{reason}"] += 1
        text = f"camera {camera}: image not used ({reason}), its sweep is labelled without it"
        self._log.warning(text, f": {_explained(reason, details)}")

    def warn_image(self, camera: str, reason: str, details: str) -> None:
        """An image is used although something about it is not as it should be."""
        self.warn(f"{camera}.{reason}")
        self._log.warning(f"camera {camera}: image used with a deficiency ({reason})", f": {details}")

    def warn(self, reason: str) -> None:
        """Something else is not as it should be."""
        with self._lock:
            self.warnings[reason] += 1

    def message_unusable(self, topic: str, error: Exception) -> None:
        """A message is ignored because handling it raised ``error``."""
        reason = getattr(error, "reason", type(error).__name__)
        self.warn(f"{token(topic)}_{reason}")
        self._log.warning(f"{topic}: message ignored ({reason})", f": {error}")

    def callback_failed(self, error: Exception) -> None:
        """Something that ROS called, other than for an input, raised ``error``."""
        self.warn(f"callback_{type(error).__name__}")
        self._log.warning(f"a callback failed ({type(error).__name__}), the node goes on", f": {error}")

    def messages_lost(self, topic: str, count: int) -> None:
        """The middleware lost messages: they came faster than they were read, or incomplete."""
        for _ in range(count):
            self.warn(f"{token(topic)}_message_lost")
        self._log.warning(f"{topic}: messages lost", f" ({count}): {EXPLANATIONS['message_lost']}")

    def labelled(self, points: int, seen: int, seconds_by_stage: Mapping[str, float]) -> None:
        """A sweep's labels were published. seen: how many of its points a camera sees."""
        with self._lock:
            self.frames_labelled += 1
            self.points += points
            self.points_seen_by_camera += seen
            self._labelled.append(time.monotonic())
            for stage, seconds in seconds_by_stage.items():
                self._latencies.setdefault(stage, deque(maxlen=WINDOW)).append(seconds)

    def report(self) -> dict[str, Any]:
        """What became of sweeps and images, for the diagnostics of either node."""
        return {
            "frames_in": self.frames_in,
            "frames_in_hz": self.rates()["frames_in_hz"],
            "dropped": dict(self.dropped),
            "camera_drops": dict(self.camera_drops),
            "warnings": dict(self.warnings),
            "notices": self.notices.as_dict(),
        }

    def rates(self) -> dict[str, float]:
        """Hz over the last seconds: ``frames_in_hz`` and ``fps`` (labelled)."""
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


def _explained(reason: str, details: str) -> str:
    return details or EXPLANATIONS.get(reason, "no details known")


def token(topic: str) -> str:
    """The topic as a part of the name of a count."""
    return topic.strip("/").replace("/", "_")


def _rate(times: deque[float]) -> float:
    now = time.monotonic()
    recent = [t for t in times if now - t < RATE_WINDOW_S]
    return round((len(recent) - 1) / (recent[-1] - recent[0]), 2) if len(recent) > 1 else 0.0
