"""Keeps the adapter from slowing down other processes: nice level, threads, share of the GPU."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import cv2
from threadpoolctl import threadpool_limits

from sam_adapt_ros.config import ResourceConfig

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TASKS = Path("/proc/self/task")
_AUTOGROUP = Path("/proc/self/autogroup")
LOWEST = 19
"""The nice level at which training runs on otherwise idle processor time alone."""


def limit_process_resources(resources: ResourceConfig) -> None:
    """Limits the whole process. To be called before torch is imported: importing it is work, too."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(resources.threads)))  # for libraries that are loaded later
    threadpool_limits(resources.threads, user_api="blas")  # for those that are loaded already
    cv2.setNumThreads(resources.threads)
    set_nice_level(resources.nice)


def limit_training_thread(resources: ResourceConfig, device: str) -> None:
    """Limits the calling thread, which is to be the one that trains, and the threads that it starts.

    device: that of ``segmenter.device``. Raises ConfigError where there is no such device.
    """
    import torch

    from sam_adapt_ros.segmentation.device import choose_device

    torch.set_num_threads(resources.threads)
    threadpool_limits(resources.threads, user_api="openmp")
    if resources.nice == LOWEST:
        run_when_idle()
    chosen = choose_device(device, "segmenter.device")
    if chosen.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(resources.gpu_memory_fraction)


def set_nice_level(level: int) -> None:
    """Lowers the priority of the process's threads and of those that they will start; never raises it.

    Linux keeps the nice level by thread, and the middleware has started its own by now.
    """
    threads = [int(path.name) for path in _TASKS.iterdir()] if _TASKS.is_dir() else [0]
    for thread in threads:
        with contextlib.suppress(OSError):  # it has just ended, or is nicer already
            os.setpriority(os.PRIO_PROCESS, thread, max(level, os.getpriority(os.PRIO_PROCESS, thread)))
    # Where the kernel groups processes by session (autogroups), processor time is shared between sessions first, and
    # the nice level counts only inside one. A node started by a launch or a supervisor leads a session of its own and
    # sets that session's level; in another process's session that would slow down others.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError, ValueError, IndexError):
            known = int(_AUTOGROUP.read_text().split()[-1])  # "/autogroup-77 nice 0"
            _AUTOGROUP.write_text(str(max(level, known)))


def run_when_idle() -> None:
    """Has Linux run the calling thread, and those it starts from now on, on otherwise idle processor time (SCHED_IDLE).

    Any thread that wakes up takes the core from it at once, while a nice level, even the lowest, keeps its time slice;
    and the scheduler counts a core that runs it as free. For threads that compute: the middleware's, which hold locks
    that publishers in other processes wait for, keep their nice level.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a sandbox that forbids it
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
