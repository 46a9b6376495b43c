"""Decodes the labelled sweeps that the frame buffer admits, and offers them to the training thread."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.errors import MessageError
from sam_adapt_ros.messages import read_labels
from sam_adapt_ros.nodes.adapter.training_thread import TrainingThread
from sam_adapt_ros.nodes.input.frame_decoder import FrameDecoder
from sam_adapt_ros.nodes.input.synchronizer import SynchronizedSweep
from sam_adapt_ros.nodes.input.work_queue import WorkQueue
from sam_adapt_ros.nodes.throttled_logger import ThrottledLogger

_QUEUE_SIZE = 2


class FrameIntake:
    """Works in a thread of its own.

    counts: labelled sweeps by what became of them: as ``TrainingThread.observe`` returns (``passed_over`` without being
    decoded, where the buffer does not admit them); ``label_rows`` (another number of labels than of points),
    ``label_class`` or the reason of a message that cannot be read; ``overload``, ``internal_error``.
    """

    def __init__(self, decoder: FrameDecoder, training: TrainingThread, log: ThrottledLogger) -> None:
        self.counts: Counter[str] = Counter()
        self._decoder, self._training, self._log = decoder, training, log
        self._lock = threading.Lock()
        self._queue: WorkQueue[tuple[SynchronizedSweep, PointCloud2]] = WorkQueue(
            self._take, _QUEUE_SIZE, self._on_drop, "frame-intake"
        )

    def add(self, sweep: SynchronizedSweep, labels: PointCloud2) -> None:
        """Never blocks; under overload the oldest is dropped."""
        self._queue.put((sweep, labels))

    def close(self) -> None:
        self._queue.stop(2.0)

    def _take(self, pair: tuple[SynchronizedSweep, PointCloud2]) -> None:
        sweep, labels = pair
        rows, points = labels.width * labels.height, sweep.cloud.width * sweep.cloud.height
        if rows != points:
            raise MessageError("label_rows", f"labels: {points} rows expected, as the sweep has points, got {rows}")
        adapter = self._training.adapter
        if adapter is None:
            self._count("not_open")
            return
        pose = adapter.buffer.place(sweep.stamp_ns, self._decoder.pose(sweep))
        admission = adapter.admit(sweep.stamp_ns, pose)  # before the images are decoded
        if admission is None:
            self._count("passed_over")
            return
        _, class_id, probability = read_labels(labels)
        frame = self._decoder.decode(sweep)
        if frame.T_odom_lidar is not None:
            frame = replace(frame, T_odom_lidar=pose)
        self._count(self._training.observe(frame, class_id, probability, admission))

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.counts[outcome] += 1

    def _on_drop(self, pair: tuple[SynchronizedSweep, PointCloud2], reason: str, details: str) -> None:
        self._count(reason)
        if details:
            self._log.warning(f"frame not used for learning ({reason})", f": {details}")
