"""A training run on disk: network and optimizer as tensors, counters as JSON in the metadata of the same file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam_adapt_ros.errors import ConfigError, WeightsError
from sam_adapt_ros.segmentation.tensor_file import load_tensors, save_tensors


def save(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, counters: Mapping[str, Any]) -> None:
    """Replaces the file atomically. counters: whatever JSON can hold. Raises OSError."""
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    save_tensors(path, tensors, {"counters": json.dumps(dict(counters))})


def load(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restores network and optimizer; returns the counters. Raises WeightsError that names the file."""
    tensors, metadata = load_tensors(path)
    try:
        counters = json.loads(metadata["counters"])
        network.load_state_dict(_below("model.", tensors))
        for name, parameter in network.named_parameters():
            state = _below(f"optimizer.{name}.", tensors)
            if state:
                optimizer.state[parameter] = {
                    # Adam keeps its step counter on the CPU and its moments where, and laid out as, the parameter is.
                    key: value if value.ndim == 0 else torch.empty_like(parameter).copy_(value)
                    for key, value in state.items()
                }
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a checkpoint of this network: {error}") from None
    return counters


def check_settings(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ConfigError that names the settings in which a resumed run differs from the one that was begun."""
    different = [
        f"{name if '.' in name else f'training.{name}'}: {saved.get(name)!r} then, {now[name]!r} now"
        for name in now
        if saved.get(name) != now[name]
    ]
    if different:
        raise ConfigError(f"{path}: cannot be resumed with other settings: {'; '.join(different)}")


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
