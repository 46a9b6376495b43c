"""A bag through the segmenter, in process, as fast as it goes: what the nodes do, without DDS, and deterministic."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import BagReader, BagWriter
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.run_summary import Summary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.segmentation import load_segmenter
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.run_report import PICTURES, Sample, evenly_spaced, write_run_report

logger = logging.getLogger(__name__)

T = TypeVar("T")
LABELS = "/segmentation/labels"
READ_AHEAD = 4  # frames read and decoded before the model asks for them


def replay(
    bag: Path, config: Config, output: Path, *, force: bool = False, progress: Progress = no_progress
) -> Summary:
    """Labels every frame of ``bag``; leaves ``labels`` (a bag), ``summary.json``, pictures and ``report.html``.

    Interrupted (SIGINT), it ends with the frame at hand and leaves the same of what it has labelled.
    progress: called with (frames done, frames in all).
    Raises BagError, WeightsError or CalibrationError that say what does not fit.
    """
    output.mkdir(parents=True, exist_ok=True)
    segmenter, config = load_segmenter(config)
    taxonomy = segmenter.taxonomy
    summary = Summary(taxonomy)
    samples: list[Sample] = []
    with BagWriter(output / "labels", force=force) as writer, ending_early() as token:
        segmenter.warm_up()
        start = time.perf_counter()
        for frame, waited, pictured in read_through(bag, config, summary, progress, token):
            labelling = time.perf_counter()
            prediction = segmenter(frame)
            writing = time.perf_counter()
            write_labels(writer, LABELS, frame, prediction.labels, prediction.probability, taxonomy)
            labels = prediction.by_branch()
            summary.add(labels, frame.ground_truth)
            done = time.perf_counter()
            summary.add_latencies(
                {
                    "wait_for_input": waited,
                    **prediction.timings,
                    "model": writing - labelling,
                    "write": done - writing,
                }
            )
            if pictured:
                samples.append(Sample(frame, prediction.labels))
        summary.seconds = time.perf_counter() - start
    summary.facts = {
        "bag": str(bag),
        "mode": "replay",
        "interrupted": token.cancelled,
        "weights": segmenter.version,
        "device": str(segmenter.device),
        "fusion": config.segmenter.fusion,
    }
    write_run_report(summary, samples, output, title=f"Replay of {bag.name}")
    return summary


class Step(NamedTuple):
    """A frame, the seconds it was waited for, and whether it is one to be shown."""

    frame: Frame
    waited: float
    pictured: bool


@contextmanager
def ending_early() -> Iterator[CancellationToken]:
    """A token that the first SIGINT cancels, so that what has been done is not lost; the second one interrupts at once.

    Only the main thread receives signals; elsewhere nothing cancels the token.
    """
    token = CancellationToken()
    if threading.current_thread() is not threading.main_thread():
        yield token
        return
    before = signal.getsignal(signal.SIGINT)

    def end(*_: object) -> None:
        logger.warning("interrupted: ending with what there is; once more ends at once")
        token.cancel()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, end)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, before)


def read_through(
    bag: Path,
    config: Config,
    summary: Summary,
    progress: Progress = no_progress,
    token: CancellationToken = NEVER,
) -> Iterator[Step]:
    """The bag's frames, read ahead; the summary gets to know how many came in and what was dropped.

    progress: called with (frames done, frames in all) after each. token: once it is cancelled, the frame at hand is the
    last.
    """
    with BagReader(bag, config) as reader:
        places, frames_in = evenly_spaced(reader.sweeps, PICTURES), reader.sweeps
        for place, (frame, waited) in enumerate(ahead(reader.frames(), READ_AHEAD)):
            yield Step(frame, waited, place in places)
            progress(place + 1, reader.sweeps)
            if token.cancelled:
                frames_in = place + 1 + sum(reader.counts.dropped.values())
                break
        summary.frames_in += frames_in
        summary.dropped.update(reader.counts.dropped)
        summary.camera_drops.update(reader.counts.cameras)


def write_labels(
    writer: BagWriter,
    topic: str,
    frame: Frame,
    labels: NDArray[np.uint8],
    probability: NDArray[np.float32],
    taxonomy: Taxonomy,
) -> None:
    """A label cloud of the frame's points, (N,) each."""
    writer.write_labels(topic, frame.stamp_ns, frame.frame_id, frame.points, labels, probability, taxonomy.colors)


def ahead(items: Iterator[T], depth: int) -> Iterator[tuple[T, float]]:
    """Iterates in a thread of its own, at most ``depth`` items ahead; yields each item and the seconds waited for it.

    An error of the iterator is raised here, in its place; leaving early ends the thread.
    """
    results: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(kind: str, value: object) -> bool:
        while not stopped.is_set():
            try:
                results.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # carried over to the consumer, which raises it
            put("error", error)

    thread = threading.Thread(target=fill, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            start = time.perf_counter()
            kind, value = results.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value, time.perf_counter() - start  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
