"""Architectures of the network: presets, YAML files and the metadata of weights files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sam_adapt_ros import resources
from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import ConfigError


def load_architecture(name: str | Path) -> ArchitectureConfig:
    """A preset (``paper``, ``small``) or a YAML file. Raises ConfigError that names the file and the field."""
    name = str(name)
    try:
        path = resources.find(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml", "config/architectures")
    except FileNotFoundError as error:
        raise ConfigError(f"architecture: {error}") from None
    try:
        return parse_architecture(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_architecture(values: Any) -> ArchitectureConfig:
    """Raises ConfigError that names the fields that do not fit."""
    try:
        return ArchitectureConfig.model_validate(values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise ConfigError("architecture: " + "; ".join(lines)) from None
