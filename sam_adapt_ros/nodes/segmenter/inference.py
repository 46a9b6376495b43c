"""The inference thread: decodes a sweep, predicts, publishes, and measures how long each stage took."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.frame_decoder import FrameDecoder
from sam_adapt_ros.nodes.input.synchronizer import SynchronizedSweep
from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot
from sam_adapt_ros.nodes.segmenter.publishers import SegmenterPublishers

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Prediction

logger = logging.getLogger(__name__)


class InferenceCallback:
    """Called with each synchronized sweep, in the inference thread.

    monitor: called with every prediction, once all of it is published, or with the network's failure on a frame, which
    is then dropped; and with the sweep's stamp.
    """

    def __init__(
        self,
        decoder: FrameDecoder,
        slot: SegmenterSlot,
        publishers: SegmenterPublishers,
        statistics: StreamStatistics,
        monitor: Callable[[Prediction | NetworkError, int], None] | None = None,
    ) -> None:
        self._decoder, self._slot, self._publishers = decoder, slot, publishers
        self._statistics, self._monitor = statistics, monitor

    def __call__(self, sweep: SynchronizedSweep) -> None:
        """Raises MessageError when the sweep is unusable, NetworkError when the network fails on it."""
        with self._slot.priority.frame():
            self._label(sweep)

    def _label(self, sweep: SynchronizedSweep) -> None:
        started = time.monotonic_ns()
        frame = self._decoder.decode(sweep)
        decoded = time.monotonic_ns()
        segmenter = self._slot.take()
        try:
            prediction = segmenter(frame)
        except NetworkError as error:
            self._show_monitor(error, frame.stamp_ns)
            raise
        predicted = time.monotonic_ns()
        self._publishers.publish_labels(frame, prediction, segmenter.taxonomy)
        published = time.monotonic_ns()
        total, model = published - sweep.arrival_ns, predicted - decoded
        stages = {
            "wait": sweep.ready_ns - sweep.arrival_ns,
            "queue": started - sweep.ready_ns,
            "decode": decoded - started,
            "model": model,
            "publish": published - predicted,
            "overhead": total - model,
            "total": total,
        }
        self._statistics.labelled(
            len(frame.points), int(prediction.seen.sum()), {name: ns * 1e-9 for name, ns in stages.items()}
        )
        prediction.report(self._statistics.notices)
        self._publishers.publish_on_demand(frame, prediction, segmenter.taxonomy)
        self._show_monitor(prediction, frame.stamp_ns)

    def _show_monitor(self, outcome: Prediction | NetworkError, stamp_ns: int) -> None:
        if self._monitor is not None:
            try:
                self._monitor(outcome, stamp_ns)
            except Exception:  # what became of the frame stays: where it has been labelled, it is no drop
                logger.exception("the rollback monitor failed on a frame; labelling goes on")
