"""What pipelines over a bag share: its frames, read ahead of the model; label clouds; leaving early on an interrupt."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import BagReader, BagWriter
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.run_report import PICTURES, evenly_spaced

logger = logging.getLogger(__name__)

T = TypeVar("T")
READ_AHEAD = 4
"""Frames that are read and decoded before the model needs them."""


class BagFrame(NamedTuple):
    """A frame, the seconds that it was waited for, and whether the report is to show it."""

    frame: Frame
    waited: float
    pictured: bool


def bag_frames(
    bag: Path,
    config: Config,
    summary: RunSummary,
    progress: Progress = no_progress,
    token: CancellationToken = NEVER,
    pictured: Collection[int] | None = None,
) -> Iterator[BagFrame]:
    """The frames of a bag, read ahead; ``summary`` gets the counts of sweeps and of what was dropped, also where the
    bag turns out to be damaged.

    token: cancelled, the iteration ends with the present frame. pictured: numbers of the frames that the report is to
    show; None: some of the bag.
    """
    with BagReader(bag, config) as reader:
        shown = evenly_spaced(reader.sweeps, PICTURES) if pictured is None else pictured
        frames_in = reader.sweeps
        try:
            for place, (frame, waited) in enumerate(read_ahead(reader.frames(), READ_AHEAD)):
                yield BagFrame(frame, waited, place in shown)
                progress(place + 1, reader.sweeps)
                if token.cancelled:
                    frames_in = place + 1 + sum(reader.counts.dropped.values())
                    break
        finally:
            summary.frames_in += frames_in
            summary.dropped.update(reader.counts.dropped)
            summary.camera_drops.update(reader.counts.cameras)
            summary.notices.update(reader.notices)


def count_sweeps(bag: Path, config: Config) -> int:
    """How many sweeps a bag has. Raises BagError when it cannot be read or has no usable LiDAR topic."""
    with BagReader(bag, config, log=_said_later) as reader:
        return reader.sweeps


def _said_later(notice: str) -> None:
    """When the frames are read."""


@contextmanager
def cancelled_by_interrupt() -> Iterator[CancellationToken]:
    """A token that the first SIGINT cancels, so that the work done so far is kept; the second one interrupts at once.

    Signals reach the main thread only; elsewhere the token is never cancelled.
    """
    token = CancellationToken()
    if threading.current_thread() is not threading.main_thread():
        yield token
        return
    before = signal.getsignal(signal.SIGINT)

    def cancel(*_: object) -> None:
        logger.warning("interrupted: writing the results of the frames so far; interrupt again to end at once")
        token.cancel()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, cancel)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, before)


def write_labels(
    writer: BagWriter,
    topic: str,
    frame: Frame,
    labels: NDArray[np.uint8],
    probability: NDArray[np.float32],
    taxonomy: Taxonomy,
) -> None:
    """A label cloud of the frame's points. labels, probability: (N,)."""
    writer.write_labels(
        topic, frame.stamp_ns, frame.frame_id, frame.published_points, labels, probability, taxonomy.colors
    )


def read_ahead(items: Iterator[T], depth: int) -> Iterator[tuple[T, float]]:
    """Iterates in a thread of its own, ``depth`` items ahead; yields each item and the seconds waited for it.

    An error of the iterator is raised here, in its place; leaving early ends the thread.
    """
    reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        coming = deque(reader.submit(next, items, None) for _ in range(depth))
        while True:
            start = time.perf_counter()
            item = coming.popleft().result()
            if item is None:
                return
            coming.append(reader.submit(next, items, None))
            yield item, time.perf_counter() - start
    finally:
        reader.shutdown(cancel_futures=True)
