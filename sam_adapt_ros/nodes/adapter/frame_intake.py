"""What becomes of a sweep once its labels are there: decoded where the buffer may want it, offered to learn from."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from sam_adapt_ros.errors import MessageError, SamAdaptError
from sam_adapt_ros.messages import read_labels
from sam_adapt_ros.nodes.adapter.exact_time_sync import Pairing
from sam_adapt_ros.nodes.adapter.training_thread import Learner
from sam_adapt_ros.nodes.input.frame_stream import Task
from sam_adapt_ros.nodes.input.work_queue import Worker
from sam_adapt_ros.nodes.throttled_logger import Complaints

_QUEUE_SIZE = 2


class Observer:
    """Pairs sweeps with labels, and shows them to the learner in a thread of its own.

    counts: sweeps by what became of them: as ``Learner.observe`` says (``passed_over``, where the buffer does not admit
    them, without being decoded); ``label_rows`` (another number of labels than of points), ``label_class`` or the
    reason of a message that cannot be read; ``overload``, ``internal_error``. ``pairing.counts``: what waited in vain.
    """

    def __init__(self, learner: Learner, complain: Complaints) -> None:
        self.counts: Counter[str] = Counter()
        self._learner, self._complain = learner, complain
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
        adapter = self._learner.adapter
        if adapter is None:
            self._count("not_open")
            return
        admission = adapter.admit(task.match.stamp_ns, task.pose())  # before the costly part: images are decoded below
        if admission is None:
            self._count("passed_over")
            return
        _, labels, probability = read_labels(message)
        self._count(self._learner.observe(task.assemble().frame, labels, probability, admission))

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
