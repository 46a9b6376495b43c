"""Keeps the process out of others' way: nice level, threads, share of the GPU."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import cv2

from sam_adapt_ros.config import ResourceConfig

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TASKS = Path("/proc/self/task")
_AUTOGROUP = Path("/proc/self/autogroup")


def be_modest(resources: ResourceConfig) -> None:
    """To be called before torch is imported: the libraries that come with it look at the environment once."""
    os.environ.update(dict.fromkeys(_THREADS, str(resources.threads)))
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


def limit_torch(resources: ResourceConfig, device: str) -> None:
    """device: as configured, ``auto``, ``cpu`` or ``cuda``. Raises ConfigError where there is no such device."""
    import torch

    from sam_adapt_ros.segmentation.segmenter import choose_device

    torch.set_num_threads(resources.threads)
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(resources.gpu_memory_fraction)
