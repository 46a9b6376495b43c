"""Which settings the result of a stage depends on."""

from __future__ import annotations

from typing import Any

from sam_adapt_ros.config import Config, load_architecture

_FREE = {
    *("training.output", "training.device", "training.workers", "training.checkpoint_every", "training.samples"),
    *("training.initial_weights", "training.architecture", "training.bags", "training.validation_bags"),
    *("masks.cache", "masks.sam.device", "masks.sam.checkpoint"),
}
"""Settings that do not change a result, or that are looked into instead of at their names."""


def settings_of(config: Config, *sections: str) -> dict[str, Any]:
    """The values of some sections by their dotted names, but those that do not change a result."""
    return {
        name: value
        for name, value in config.to_flat().items()
        if name.startswith(tuple(f"{each}." for each in sections)) or name in sections
        if name not in _FREE
    }


def architecture_of(config: Config) -> dict[str, Any]:
    """The network that is trained, by its content."""
    return load_architecture(config.training.architecture).model_dump()
