"""What becomes of a sweep once its labels are there: decoded where the buffer may want it, offered to learn from."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import BufferConfig
from sam_adapt_ros.errors import MessageError, SamAdaptError
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages import read_labels
from sam_adapt_ros.nodes.adapter.exact_time_sync import Pairing
from sam_adapt_ros.nodes.adapter.training_thread import Learner
from sam_adapt_ros.nodes.input.frame_stream import Task
from sam_adapt_ros.nodes.input.work_queue import Worker
from sam_adapt_ros.nodes.throttled_logger import Complaints

_QUEUE_SIZE = 2


class Observer:
    """Pairs sweeps with labels, and shows them to the learner in a thread of its own.

    counts: sweeps by what became of them: as ``Learner.observe`` says; ``standing`` (too near the last one, not even
    decoded); ``label_rows`` (another number of labels than of points), ``label_class`` or the reason of a message that
    cannot be read; ``overload``, ``internal_error``. ``pairing.counts``: what waited in vain.
    """

    def __init__(self, learner: Learner, config: BufferConfig, complain: Complaints) -> None:
        self.counts: Counter[str] = Counter()
        self._learner, self._complain = learner, complain
        self._pace = Pace(config.min_distance, config.nominal_speed)
        self._worker: Worker[tuple[Task, Any]] = Worker(
            self._observe, _QUEUE_SIZE, self._on_drop, self._on_error, "observing"
        )
        self.pairing: Pairing[Task, Any] = Pairing(lambda task, labels: self._worker.put((task, labels)))
        self._lock = threading.Lock()

    def add_frame(self, task: Task) -> None:
        """What a ``FrameStream`` calls."""
        self.pairing.add_frame(task.match.stamp_ns, task)

    def close(self) -> None:
        self._worker.stop(2.0)

    # In the thread ----------------------------------------------------------------------------------------------------

    def _observe(self, pair: tuple[Task, Any]) -> None:
        task, message = pair
        sweep = task.match.sweep.msg
        rows, points = message.width * message.height, sweep.width * sweep.height
        if rows != points:
            raise MessageError("label_rows", f"labels: {points} rows expected, as the sweep has points, got {rows}")
        if self._learner.adapter is None:
            self._count("not_open")
            return
        if not self._pace.has_moved(task.match.stamp_ns, task.pose()):
            self._count("standing")
            return
        _, labels, probability = read_labels(message)
        self._count(self._learner.observe(task.assemble().frame, labels, probability))

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.counts[outcome] += 1

    def _on_drop(self, pair: tuple[Task, Any], reason: str) -> None:
        self._count(reason)

    def _on_error(self, pair: tuple[Task, Any], error: Exception) -> None:
        reason = error.reason if isinstance(error, MessageError) else "internal_error"
        self._count(reason)
        text = str(error) if isinstance(error, SamAdaptError) else f"{type(error).__name__}: {error}"
        self._complain(f"sweep not learned from: {reason}", f": {text}")


class Pace:
    """Tells which sweeps are far enough from the last of them for the buffer to look at, as the buffer measures it."""

    def __init__(self, min_distance: float, nominal_speed: float) -> None:
        """Metres, and metres a second where there is no odometry."""
        self._min_distance, self._nominal_speed = min_distance, nominal_speed
        self._last: tuple[int, NDArray[np.float64] | None] | None = None

    def has_moved(self, stamp_ns: int, T_odom_lidar: Transform | None) -> bool:
        position = None if T_odom_lidar is None else np.array(T_odom_lidar[:3, 3])
        if self._last is not None:
            stamp_before, before = self._last
            if position is not None and before is not None:
                distance = float(np.linalg.norm(position - before))
            else:
                distance = abs(stamp_ns - stamp_before) * 1e-9 * self._nominal_speed
            if distance < self._min_distance:
                return False
        self._last = (stamp_ns, position)
        return True
