"""The device, the precision and the CPU threads that the network runs with."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
from torch.nn import Module

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
    """The type of a configuration's ``precision``; ``auto`` is float16 on CUDA, and on a CPU bfloat16 where it
    multiplies in it, which then takes half of the time, else float32. A CPU computes float16 in float32."""
    if device.type == "cpu":
        automatic = "bfloat16" if has_bfloat16() else "float32"
        return torch.bfloat16 if (automatic if name == "auto" else name) == "bfloat16" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(name, torch.float16)


@cache
def has_bfloat16() -> bool:
    """Whether the CPU has instructions for products in bfloat16 (AVX512_BF16, AMX, the BF16 extension of Armv8.6); on
    others it is emulated."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags) and torch.backends.mkldnn.is_available()


def choose_threads(threads: int) -> int:
    """The number of a configuration's ``threads``; for 0 half of the cores that the process may use, at least one, and
    no more than torch is set to.

    Threads that share the work of a layer wait for the slowest one. Where other processes use some of the cores, as on
    a vehicle, a frame takes many times as long with all cores as with one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or min(torch.get_num_threads(), max(1, cores // 2))


def move(network: Module, device: torch.device, parameter: str) -> None:
    """Brings a network to a device, in place.

    parameter: the name of the one that chose the device. Raises ConfigError where it has no memory left.
    """
    try:
        network.to(device)
    except RuntimeError as error:
        if device.type == "cpu" or not out_of_memory(error):
            raise
        raise no_free_memory(device, parameter) from None


def no_free_memory(device: torch.device, parameter: str) -> ConfigError:
    return ConfigError(
        f"{parameter}: {device.type} has no free memory for the network: end what else uses it, or set cpu"
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is exhausted, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # PyTorch's allocators of CPU and MPS raise a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )
