"""Timing of repeated calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from threadpoolctl import threadpool_limits


def cpu_milliseconds(call: Callable[[], object], repetitions: int) -> float:
    """Median CPU time of a call on one core, after one call to warm up.

    Numerical libraries are limited to one thread, and only this thread's time counts, so that the load of the machine
    has little influence.
    """
    times = []
    with threadpool_limits(1):
        call()
        for _ in range(repetitions):
            start = time.thread_time()
            call()
            times.append(time.thread_time() - start)
    return 1e3 * statistics.median(times)
