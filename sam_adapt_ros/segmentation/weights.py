"""Weights files: safetensors that record what they are for, where they come from, and their checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import ConfigError, WeightsError, describe_validation
from sam_adapt_ros.segmentation.networks import build
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.segmentation.tensor_file import load_tensors, save_tensors
from sam_adapt_ros.taxonomy import Taxonomy

FORMAT = "1"
_FIELDS = ("format", "taxonomy", "classes", "architecture", "history", "created", "parent", "checksum")


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's tensors and what must be known to use them.

    state: the network's state dict; float32.
    taxonomy: the class set's name. classes: its classes in order.
    history: what was done to the weights, oldest first; free-form mappings that JSON can hold.
    created: ISO 8601, UTC. parent: version of the weights these were made from, "" for none.
    version: 12 hexadecimal digits, a hash of what the network computes (not of history or time); "" before they are
        saved.
    """

    state: Mapping[str, Tensor]
    taxonomy: str
    classes: tuple[str, ...]
    architecture: ArchitectureConfig
    history: tuple[Mapping[str, Any], ...] = ()
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    parent: str = ""
    version: str = ""


def save(path: str | Path, weights: Weights, half: bool = False) -> Weights:
    """Replaces the file atomically; returns the weights with their version.

    half: matrices and kernels are stored as float16 (vectors, so all of BatchNorm, stay float32).
    Raises WeightsError when a value is not finite or does not fit float16, OSError when the file cannot be written.
    """
    path = Path(path)
    tensors = {name: _to_stored(path, name, tensor.detach().cpu(), half) for name, tensor in weights.state.items()}
    metadata = {
        "format": FORMAT,
        "taxonomy": weights.taxonomy,
        "classes": json.dumps(weights.classes),
        "architecture": weights.architecture.model_dump_json(),
        "history": json.dumps([dict(entry) for entry in weights.history]),
        "created": weights.created,
        "parent": weights.parent,
    }
    save_tensors(path, tensors, {**metadata, "checksum": _checksum(tensors, metadata)})
    return replace(weights, version=_version(tensors, metadata))


def load(path: str | Path) -> Weights:
    """Reads a weights file. Raises WeightsError that names the file and what is damaged."""
    path = Path(path)
    tensors, metadata = load_tensors(path)
    if metadata.get("format", FORMAT) != FORMAT:
        raise WeightsError(f"{path}: format: {FORMAT} expected, the file has {metadata['format']}")
    missing = [name for name in _FIELDS if name not in metadata]
    if missing:
        raise WeightsError(f"{path}: metadata: missing {', '.join(missing)}: not one of this package's weights files")
    if metadata.pop("checksum") != _checksum(tensors, metadata):
        raise WeightsError(f"{path}: checksum: the content is damaged (it does not match the recorded SHA-256)")
    return _parse(path, tensors, metadata)


def check_taxonomy(path: str | Path, weights: Weights, taxonomy: Taxonomy) -> None:
    """Raises WeightsError that names the file when its weights are for other classes."""
    if weights.taxonomy != taxonomy.name:
        raise WeightsError(f"{path}: taxonomy: {taxonomy.name} expected, the file has {weights.taxonomy}")
    if weights.classes != taxonomy.classes:
        raise WeightsError(f"{path}: classes: {list(taxonomy.classes)} expected, the file has {list(weights.classes)}")


def check_architecture(path: str | Path, found: ArchitectureConfig, expected: ArchitectureConfig) -> None:
    """Raises WeightsError that lists the fields in which a file's architecture differs from the expected one."""
    ours, theirs = expected.model_dump(), found.model_dump()
    different = [
        f"{name}: {ours[name]} expected, the file has {theirs[name]}" for name in ours if ours[name] != theirs[name]
    ]
    if different:
        raise WeightsError(f"{path}: architecture." + "; architecture.".join(different))


def build_network(weights: Weights, source: str) -> SegmentationNetwork:
    """The network that the weights are of, on the CPU.

    source: the name of the weights in errors.
    Raises WeightsError that names ``source`` and the tensor or the field that does not fit.
    """
    try:
        network = build(len(weights.classes), weights.architecture)
    except ConfigError as error:
        raise WeightsError(f"{source}: {error}") from None
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, shape in expected.items():
        if name not in weights.state:
            raise WeightsError(f"{source}: {name}: missing")
        if tuple(weights.state[name].shape) != shape:
            raise WeightsError(f"{source}: {name}: {shape} expected, got {tuple(weights.state[name].shape)}")
    unknown = sorted(set(weights.state) - set(expected))
    if unknown:
        raise WeightsError(f"{source}: {unknown[0]}: not part of the network")
    network.load_state_dict(dict(weights.state))
    return network


def _to_stored(path: Path, name: str, tensor: Tensor, half: bool) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    stored = tensor.half() if half and tensor.ndim >= 2 else tensor.float()
    if not torch.isfinite(stored).all():
        raise WeightsError(f"{path}: {name}: holds values that are not finite as {stored.dtype}")
    return stored


def _parse(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Weights:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name}: holds values that are not finite")
    try:
        return Weights(
            state={name: t.float() if t.is_floating_point() else t for name, t in tensors.items()},
            taxonomy=metadata["taxonomy"],
            classes=tuple(json.loads(metadata["classes"])),
            architecture=ArchitectureConfig.model_validate_json(metadata["architecture"]),
            history=tuple(json.loads(metadata["history"])),
            created=metadata["created"],
            parent=metadata["parent"],
            version=_version(tensors, metadata),
        )
    except ValidationError as error:
        raise WeightsError(f"{path}: architecture: {describe_validation(error)}") from None
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: metadata: {error}") from None


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over metadata and tensors in the order of their names, whatever their order in the file."""
    digest = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _version(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash of what the network computes: training again with the same result gives the same version."""
    return _checksum(tensors, {name: metadata[name] for name in ("taxonomy", "classes", "architecture")})[:12]
