"""The device and the precision that the network runs with."""

from __future__ import annotations

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
