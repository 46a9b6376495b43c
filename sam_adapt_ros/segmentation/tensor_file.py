"""safetensors files: named tensors with text metadata, replaced at once, read without ever unpickling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from sam_adapt_ros.errors import WeightsError
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.io.foreign_content import HEAD, text_instead_of_binary


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replaces the file atomically; makes its folder where it is missing. Raises OSError."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, safetensors.torch.save(plain, dict(metadata)))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata. Raises WeightsError that names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from None
    if found := text_instead_of_binary(data[:HEAD]):
        raise WeightsError(f"{path}: not a safetensors file, but {found}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return safetensors.torch.load(data), metadata
    except Exception as error:  # safetensors raises errors of several kinds for damaged files
        raise WeightsError(f"{path}: not a safetensors file, or damaged: {error}") from None
