"""The segmenter in use, and its exchange between two frames."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError, WeightsError
from sam_adapt_ros.nodes.segmenter.inference_priority import InferencePriority

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Segmenter

logger = logging.getLogger(__name__)

NICE = 10
"""Nice level of the thread that loads: where all cores are busy, loading takes longer, and frames do not. Not lower,
and not SCHED_IDLE: it holds the interpreter's lock at times, and where other processes take all of the processor's
time, the inference thread would wait for that lock much longer."""
MAX_WAIT_S = 2.0
"""How long, in all, an exchange's loading waits for frames to end. After that it runs while frames are processed."""
WARM_UP_POINTS = 500
"""Of an exchange. One-time initialization is done when the process starts; a few points show that the weights run, in a
third of the time of a whole sweep."""


class _Loaded(NamedTuple):
    segmenter: Segmenter
    name: str = ""


class SegmenterSlot:
    """Loads weights, and provides the inference thread with the segmenter for its next frame.

    Loading, warming up and freeing old weights happen in one background thread of low priority. The exchange is one
    assignment in ``take``, which the inference thread calls before each frame.

    priority: entered while a frame is processed; loading then waits.
    swaps: exchanges so far. swap_ms: how long they held the inference thread, ``last`` and ``max``.
    problem: why the last replacement was refused; "" when it was not.
    """

    def __init__(self, config: Config) -> None:
        """Raises WeightsError or TaxonomyError."""
        import torch  # takes seconds: by now the node is up and handles signals

        _freeze_imported_objects()
        self.priority = InferencePriority()
        segmenter = _load_segmenter(config)
        segmenter.warm_up()
        self._loaded = _Loaded(segmenter)
        self._threads = torch.get_num_threads()
        self._inference_thread: int | None = None
        self._next: deque[_Loaded] = deque(maxlen=1)
        self._background = ThreadPoolExecutor(1, "load-weights", initializer=_lower_priority)
        self.swaps = 0
        self.swap_ms = {"last": 0.0, "max": 0.0}
        self.problem = ""

    @property
    def current(self) -> Segmenter:
        return self._loaded.segmenter

    @property
    def name(self) -> str:
        """Of the weight store's version in use, "" for ``segmenter.weights``."""
        return self._loaded.name

    def prepare_thread(self) -> None:
        """To be called in the inference thread before its first frame: a GPU's libraries make handles and plans of
        their own for each thread, which takes more than a second. Raises what the segmenter's ``warm_up`` raises."""
        segmenter = self.take()
        if segmenter.device.type != "cpu":
            segmenter.warm_up()

    def take(self) -> Segmenter:
        """The segmenter for the frame that comes now."""
        if self._inference_thread != threading.get_ident():
            self._set_threads()
        if self._next:
            self._swap()
        return self._loaded.segmenter

    def replace(self, config: Config) -> Future:
        """Starts to load what ``config`` names; refusals are logged. Of several requests the last one wins."""
        return self.submit(partial(self._replace, config))

    def load(self, config: Config, name: str = "", sha256: str = "", at_once: bool = False) -> None:
        """Loads what ``config`` names; to be called in the background thread.

        name: of the version. sha256: what the content's hash has to begin with. at_once: do not wait for the next
        frame; only before the first one.
        Raises WeightsError, also where they could compute on the CPU alone, or TaxonomyError; the segmenter in use
        stays.
        """
        start = time.perf_counter()
        deadline = time.monotonic() + MAX_WAIT_S
        self.priority.wait_for_gap(deadline)
        with _one_thread(self._threads):
            # 0: making a segmenter sets the thread count of threads that start later.
            settings = config.segmenter.model_copy(update={"threads": 0})
            segmenter = _load_segmenter(config.model_copy(update={"segmenter": settings}))
            with _before_each_layer(segmenter, partial(self.priority.give_way, deadline)):
                segmenter.warm_up(WARM_UP_POINTS)
        weights, expected = config.segmenter.weights, self.current.taxonomy.classes
        if segmenter.taxonomy.classes != expected:
            found = list(segmenter.taxonomy.classes)
            raise WeightsError(f"{weights}: classes {list(expected)} expected, the file has {found}")
        if self.current.device.type == "cuda" and segmenter.device.type == "cpu":
            raise WeightsError(f"{weights}: cuda has no free memory for a second network")
        if not segmenter.version.startswith(sha256):
            raise WeightsError(f"{weights}: content with hash {sha256} expected, the file's is {segmenter.version}")
        loaded = _Loaded(segmenter, name)
        if at_once:
            self._loaded = loaded
        else:
            self._next.append(loaded)
        logger.info("weights %s loaded in %.2f s", name or segmenter.version, time.perf_counter() - start)

    def submit(self, job: Callable[[], None]) -> Future:
        """Has a job done in the background thread, one after the other; what it raises is logged. Cancelled once
        closed."""
        try:
            future = self._background.submit(job)
        except RuntimeError:
            future = Future()
            future.cancel()
            return future
        future.add_done_callback(_log_failure)
        return future

    def close(self) -> None:
        """Gives up the jobs that wait."""
        self._background.shutdown(wait=False, cancel_futures=True)

    def _replace(self, config: Config) -> None:
        self.problem = ""
        try:
            self.load(config)
        except (SamAdaptError, OSError, RuntimeError) as error:
            self.problem = str(error)
            logger.error("new weights refused, %s stays in use: %s", self.current.version, error)

    def _swap(self) -> None:
        start = time.perf_counter()
        # In a list that is emptied by the background thread: freeing a network's memory takes time.
        retired = [self._loaded]
        self._loaded = self._next.pop()
        self.submit(retired.clear)
        self.swaps += 1
        last = (time.perf_counter() - start) * 1e3
        self.swap_ms = {"last": round(last, 3), "max": round(max(last, self.swap_ms["max"]), 3)}

    def _set_threads(self) -> None:
        """A thread that uses torch for the first time inherits the thread count that any thread set last."""
        import torch

        torch.set_num_threads(self._threads)
        self._inference_thread = threading.get_ident()


@contextmanager
def _one_thread(otherwise: int) -> Iterator[None]:
    """Has this thread compute with torch alone: the other cores are the inference thread's."""
    import torch

    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(otherwise)


@contextmanager
def _before_each_layer(segmenter: Segmenter, do: Callable[[], None]) -> Iterator[None]:
    hooks = [module.register_forward_pre_hook(lambda *_: do()) for module in segmenter.labelling.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@cache
def _freeze_imported_objects() -> None:
    """Moves the 400,000 objects that the imports made, which stay, out of the garbage collector's view, once: a full
    collection visits all of them, which delays the frame being processed by 0.2 s."""
    import sam_adapt_ros.segmentation  # noqa: F401

    gc.collect()
    gc.freeze()


def _lower_priority() -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _log_failure(future: Future) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        logger.error("a background job failed, the weights in use stay: %s: %s", type(error).__name__, error)


def _load_segmenter(config: Config) -> Segmenter:
    from sam_adapt_ros.segmentation import load_segmenter

    return load_segmenter(config)[0]
