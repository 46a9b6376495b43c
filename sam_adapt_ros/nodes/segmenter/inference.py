"""What the segmenter does with a sweep: decode, predict, publish, and take note of how long it took."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sam_adapt_ros.nodes.diagnostics.stream_statistics import Statistics
from sam_adapt_ros.nodes.input.frame_stream import Task
from sam_adapt_ros.nodes.segmenter.hot_swap import Model
from sam_adapt_ros.nodes.segmenter.publishers import Outputs

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Prediction

logger = logging.getLogger(__name__)


class Labelling:
    """Called with each task of a ``FrameStream``, in the inference thread.

    observe: called with every prediction once all of it is published.
    """

    def __init__(
        self,
        model: Model,
        outputs: Outputs,
        statistics: Statistics,
        observe: Callable[[Prediction], None] | None = None,
    ) -> None:
        self._model, self._outputs, self._statistics = model, outputs, statistics
        self._observe = observe

    def __call__(self, task: Task) -> None:
        """Raises MessageError when the sweep is unusable."""
        with self._model.frames.taken():
            self._label(task)

    def _label(self, task: Task) -> None:
        started = time.monotonic_ns()
        frame = task.assemble().frame
        decoded = time.monotonic_ns()
        segmenter = self._model.take()
        prediction = segmenter(frame)
        predicted = time.monotonic_ns()
        self._outputs.publish_labels(frame, prediction, segmenter.taxonomy)
        published = time.monotonic_ns()
        arrival = task.match.sweep.arrival_ns
        total, model = published - arrival, predicted - decoded
        stages = {
            "wait": task.ready_ns - arrival,
            "queue": started - task.ready_ns,
            "decode": decoded - started,
            "model": model,
            "publish": published - predicted,
            "overhead": total - model,
            "total": total,
        }
        self._statistics.labelled(
            len(frame.points), int(prediction.seen.sum()), {name: ns * 1e-9 for name, ns in stages.items()}
        )
        self._outputs.publish_extras(frame, prediction, segmenter.taxonomy)
        if self._observe is not None:
            try:
                self._observe(prediction)
            except Exception:  # the frame has been answered: whatever happens here is not to count against it
                logger.exception("frame not observed")
