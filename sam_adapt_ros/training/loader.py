"""Work that threads or worker processes do ahead of the one that needs it, in order, with bounded memory."""

from __future__ import annotations

import logging
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from sam_adapt_ros.errors import BagError, SamAdaptError

T = TypeVar("T")
AHEAD = 2
"""Results that a worker process has ready."""


def map_ahead(
    function: Callable[[int], T], items: Sequence[int], workers: int, *, processes: bool = True
) -> Iterator[T]:
    """``function`` of each item, in order, computed ahead by ``workers``; 0: each when it is needed.

    Args:
        processes: whether the workers are processes, for what is read from files, or threads, for what is in memory.
            ``function`` is pickled for a process; tensors of its results come through shared memory.
    Raises:
        BagError: what ``function`` raised as a SamAdaptError in a process, or that a process was killed.
    """
    if not workers or not len(items):
        return map(function, items)
    return _by_processes(function, items, workers) if processes else _by_threads(function, items, workers)


def _by_threads(function: Callable[[int], T], items: Sequence[int], workers: int) -> Iterator[T]:
    with ThreadPoolExecutor(workers, thread_name_prefix="loader") as pool:
        ahead: deque[Future[T]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _by_processes(function: Callable[[int], T], items: Sequence[int], workers: int) -> Iterator[T]:
    # Started from a clean process, never as a copy of this one, whose threads and devices a copy would not have.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "sam_adapt_ros.training.frame_samples"])  # imported once for all
    loader: DataLoader[T] = DataLoader(
        _Calls(function),
        batch_size=None,
        sampler=items,
        num_workers=min(workers, len(items)),
        collate_fn=_unchanged,
        prefetch_factor=AHEAD,
        worker_init_fn=_prepare_process,
        multiprocessing_context=context,
    )
    results = iter(loader)
    for _ in items:
        try:
            result = next(results)
        except RuntimeError as error:  # the loader's own, of a process that is gone; others are raised as what they are
            if "DataLoader worker" not in str(error):
                raise
            raise BagError(f"a loader process ended ({error}); too little memory? Lower training.workers") from None
        if isinstance(result, _Failed):
            raise BagError(result.message)
        yield result


@dataclass(frozen=True)
class _Failed:
    """What went wrong in a worker process; most errors of ours cannot be pickled."""

    message: str


class _Calls(Dataset[T], Generic[T]):
    """A function as the data set of a loader."""

    def __init__(self, function: Callable[[int], T]) -> None:
        self.function = function

    def __getitem__(self, item: int) -> T | _Failed:  # type: ignore[override]
        try:
            return self.function(item)
        except SamAdaptError as error:
            return _Failed(str(error))


def _unchanged(result: T) -> T:
    return result


def _prepare_process(_: int) -> None:
    """One thread a process: the processes are what is parallel."""
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(0)
    threadpool_limits(1)
    logging.getLogger("sam_adapt_ros").setLevel(logging.WARNING)
