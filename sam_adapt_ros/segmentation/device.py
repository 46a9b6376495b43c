"""The device, the precision and the CPU threads that the network runs with."""

from __future__ import annotations

import os

import torch

from sam_adapt_ros.errors import ConfigError


def choose_device(name: str, parameter: str) -> torch.device:
    """The device of a parameter's ``auto``, ``cpu`` or ``cuda``; ``auto`` is CUDA where torch has it.

    parameter: its name. Raises ConfigError for ``cuda`` where torch does not have it.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise ConfigError(f"{parameter}: cuda is configured, but torch finds no CUDA device; use cpu or auto")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of a configuration's ``precision``; ``auto`` is float16 on CUDA, and the CPU computes in float32."""
    if device.type == "cpu":
        return torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(name, torch.float16)


def choose_threads(threads: int) -> int:
    """The number of a configuration's ``threads``; for 0 half of the cores that the process may use, at least one, and
    no more than torch is set to.

    Threads that share the work of a layer wait for the slowest one. Where other processes use some of the cores, as on
    a vehicle, a frame takes many times as long with all cores as with one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or min(torch.get_num_threads(), max(1, cores // 2))
