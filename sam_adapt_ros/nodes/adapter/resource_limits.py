"""Keeps the process out of others' way: nice level, threads, share of the GPU."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import cv2

from sam_adapt_ros.config import ResourceConfig
from sam_adapt_ros.nodes.adapter.native_pools import limit_blas, limit_openmp

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TASKS = Path("/proc/self/task")
_AUTOGROUP = Path("/proc/self/autogroup")
LAST = 19
"""The nice level of those that ask for nothing but what nobody else wants."""


def be_modest(resources: ResourceConfig) -> None:
    """Of the whole process; to be called before torch is imported, which is work, too."""
    os.environ.update(dict.fromkeys(_THREADS, str(resources.threads)))  # libraries look at it when they are loaded, ...
    limit_blas(resources.threads)  # ... and these are
    cv2.setNumThreads(resources.threads)
    be_nice(resources.nice)


def be_nice(level: int) -> None:
    """Lowers the priority of the process's threads, those that they will start included; never raises it.

    Linux keeps the nice level by thread, and the middleware has started its own by now.
    """
    threads = [int(path.name) for path in _TASKS.iterdir()] if _TASKS.is_dir() else [0]
    for thread in threads:
        with contextlib.suppress(OSError):  # it has just ended, or is nicer already
            os.setpriority(os.PRIO_PROCESS, thread, max(level, os.getpriority(os.PRIO_PROCESS, thread)))
    # Where the kernel groups processes by session (autogroups), processor time is shared between sessions first, and
    # the nice level counts only inside one. Who leads a session, as a node does that was started by a launch or a
    # supervisor, speaks for all of it; in somebody else's session that would slow down others.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError, ValueError, IndexError):
            known = int(_AUTOGROUP.read_text().split()[-1])  # "/autogroup-77 nice 0"
            _AUTOGROUP.write_text(str(max(level, known)))


def learn_modestly(resources: ResourceConfig, device: str) -> None:
    """Of the thread that calls this, which is to be the one that learns, and of those that it starts.

    device: as configured, ``auto``, ``cpu`` or ``cuda``. Raises ConfigError where there is no such device.
    """
    import torch

    from sam_adapt_ros.segmentation.device import choose_device

    torch.set_num_threads(resources.threads)
    limit_openmp(resources.threads)
    if resources.nice == LAST:
        run_when_idle()
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(resources.gpu_memory_fraction)


def run_when_idle() -> None:
    """Has Linux run the calling thread, and those it starts from now on, on what nobody else wants of the processor.

    Whoever wakes up takes the core at once, where a nice level, even the last one, is given its slice first; and to
    who looks for a free core, one that does this is free. For threads that compute: the middleware's, which hold locks
    that publishers in other processes wait for, are better left at their nice level.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a sandbox that forbids it
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
