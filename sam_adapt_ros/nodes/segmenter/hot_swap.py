"""The segmenter in use, and how it is exchanged between two frames."""

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
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError, WeightsError
from sam_adapt_ros.nodes.segmenter.inference_priority import RightOfWay

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Segmenter

logger = logging.getLogger(__name__)

NICE = 10
"""Of the thread that loads: where all cores are busy, it takes longer, and the frames meanwhile do not. Not lower, let
alone SCHED_IDLE: now and then it holds the interpreter's lock, and where others take all of the processor's time, the
inference thread would wait for it that much longer."""
PATIENCE_S = 2.0
"""How long, in all, an exchange's loading waits for frames to be done with. Where there is never time between them, it
goes on beside them."""
WARM_UP_POINTS = 500
"""Of an exchange. What a process sets up once is there since the start; a few points show that the weights run, for a
third of what a whole sweep would take from the frames meanwhile."""


class Loaded(NamedTuple):
    """A segmenter. name: of the version in a weight store that it is, "" when it is ``segmenter.weights``."""

    segmenter: Segmenter
    name: str = ""


class Model:
    """Loads weights, and hands the inference thread the segmenter for its next frame.

    Loading, warming up and taking old weights apart happen in one background thread of low priority. The exchange is
    one assignment in ``take``, which the inference thread calls before each frame.

    frames: taken for as long as a frame is worked on; loading gives way.
    swaps: exchanges so far. swap_ms: how long they held the inference thread, ``last`` and ``max``.
    problem: why the last replacement was refused; "" when it was not.
    """

    def __init__(self, config: Config) -> None:
        """Raises WeightsError or TaxonomyError."""
        import torch  # takes seconds: by now the node is up, and signals are heard

        _leave_what_stays_alone()
        self.frames = RightOfWay()
        segmenter = _load(config)
        segmenter.warm_up()
        self._loaded = Loaded(segmenter)
        self._threads = torch.get_num_threads()
        self._taker: int | None = None
        self._next: deque[Loaded] = deque(maxlen=1)
        self._requests = 0
        self._background = ThreadPoolExecutor(1, "load-weights", initializer=_lower_priority)
        self.swaps = 0
        self.swap_ms = {"last": 0.0, "max": 0.0}
        self.problem = ""

    @property
    def current(self) -> Segmenter:
        return self._loaded.segmenter

    @property
    def name(self) -> str:
        """Of the version in use, "" for ``segmenter.weights``."""
        return self._loaded.name

    def take(self) -> Segmenter:
        """The segmenter for the frame that comes now."""
        if self._taker != threading.get_ident():
            self._set_threads()
        if self._next:
            self._swap()
        return self._loaded.segmenter

    def replace(self, config: Config, done: Callable[[str], None] | None = None) -> Future:
        """Starts to load what ``config`` names. Of several requests the last one wins.

        done: called, in the background, with "" or why it was refused.
        """
        self._requests += 1
        return self.submit(partial(self._replace, config, self._requests, done))

    def load(self, config: Config, name: str = "", content: str = "", at_once: bool = False) -> None:
        """Loads what ``config`` names; to be called in the background.

        name: of the version. content: what the content's hash has to begin with. at_once: instead of before the next
        frame; only while there are none.
        Raises WeightsError or TaxonomyError; what is in use stays.
        """
        start = time.perf_counter()
        deadline = time.monotonic() + PATIENCE_S
        self.frames.wait_for_gap(deadline)
        with _one_thread(self._threads):
            # 0: a segmenter that is made sets the threads for all to come.
            settings = config.segmenter.model_copy(update={"threads": 0})
            segmenter = _load(config.model_copy(update={"segmenter": settings}))
            with _before_each_layer(segmenter, partial(self.frames.give_way, deadline)):
                segmenter.warm_up(WARM_UP_POINTS)
        weights, ours = config.segmenter.weights, self.current.taxonomy.classes
        if segmenter.taxonomy.classes != ours:
            theirs = list(segmenter.taxonomy.classes)
            raise WeightsError(f"{weights}: classes {list(ours)} expected, the file has {theirs}")
        if not segmenter.version.startswith(content):
            raise WeightsError(f"{weights}: content {content} expected, the file's is {segmenter.version}")
        loaded = Loaded(segmenter, name)
        if at_once:
            self._loaded = loaded
        else:
            self._next.append(loaded)
        logger.info("weights %s ready after %.2f s", name or segmenter.version, time.perf_counter() - start)

    def submit(self, job: Callable[[], None]) -> Future:
        """Has a job done in the background, one after the other; what it raises is logged. Cancelled once closed."""
        try:
            future = self._background.submit(job)
        except RuntimeError:
            future = Future()
            future.cancel()
            return future
        future.add_done_callback(_log_failure)
        return future

    def close(self) -> None:
        """Gives up what waits in the background."""
        self._background.shutdown(wait=False, cancel_futures=True)

    def _replace(self, config: Config, request: int, done: Callable[[str], None] | None) -> None:
        if request != self._requests:
            return
        try:
            self.load(config)
        except (SamAdaptError, OSError, RuntimeError) as error:
            self.problem = str(error)
        else:
            self.problem = ""
        if done:
            done(self.problem)

    def _swap(self) -> None:
        start = time.perf_counter()
        # In a list that is emptied elsewhere: freeing a network's memory takes time.
        retired = [self._loaded]
        self._loaded = self._next.pop()
        self.submit(retired.clear)
        self.swaps += 1
        last = (time.perf_counter() - start) * 1e3
        self.swap_ms = {"last": round(last, 3), "max": round(max(last, self.swap_ms["max"]), 3)}

    def _set_threads(self) -> None:
        """A thread that comes to torch for the first time takes over whatever count was set last, by any thread."""
        import torch

        torch.set_num_threads(self._threads)
        self._taker = threading.get_ident()


@contextmanager
def _one_thread(otherwise: int) -> Iterator[None]:
    """Keeps what this thread computes with torch to itself: the other cores are the inference thread's."""
    import torch

    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(otherwise)


@contextmanager
def _before_each_layer(segmenter: Segmenter, do: Callable[[], None]) -> Iterator[None]:
    hooks = [module.register_forward_pre_hook(lambda *_: do()) for module in segmenter.network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _leave_what_stays_alone() -> None:
    """Takes what the imports have made, 400,000 objects that stay, out of the garbage collector's sight, once: a full
    collection goes through all of it, which takes 0.2 s from whatever frame is at work."""
    import sam_adapt_ros.segmentation  # noqa: F401

    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def _lower_priority() -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _log_failure(future: Future) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        logger.error("in the background: %s: %s", type(error).__name__, error)


def _load(config: Config) -> Segmenter:
    from sam_adapt_ros.segmentation import load_segmenter

    return load_segmenter(config)[0]
