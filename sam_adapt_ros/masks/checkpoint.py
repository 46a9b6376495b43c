"""Checkpoints of published models: read without running code, whatever they are wrapped in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.io.foreign_content import HEAD, text_instead_of_binary

Model = TypeVar("Model", bound=nn.Module)

_WRAPPERS = ("model", "state_dict", "model_state_dict")  # where training scripts put the weights, beside other state
_FORBIDDEN = re.compile(r"GLOBAL (\S+)")


def with_weights(model: Model, weights: Mapping[str, Tensor], where: str, hint: str) -> Model:
    """The model with weights as ``read_state_dict`` reads them, in the model's own precision.

    where, hint: begin and end of the error when they do not fit: what does not fit what, and what to do.
    Raises MaskError.
    """
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        first = " ".join(" ".join(error.args[0].splitlines()[1:3]).split())
        raise MaskError(f"{where}; {hint} ({first[:100]})") from None
    return model


def read_state_dict(path: Path, parameter: str) -> dict[str, Tensor]:
    """The tensors by name of a PyTorch or safetensors file, on the CPU.

    The weights may lie under ``model`` or ``state_dict``, as training scripts save them; a prefix that all names share
    (``module.`` of data-parallel training) is left out. Nothing but tensors is unpickled, so that a checkpoint cannot
    run code. Raises MaskError that names the parameter and the file: missing, damaged, something else, or not finite.
    """
    where = f"{parameter}: {path}"
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise MaskError(f"{where}: no such file; check the path") from None
    except OSError as error:
        raise MaskError(f"{where}: cannot be read: {error.strerror}") from None
    if found := text_instead_of_binary(head):
        raise MaskError(f"{where}: not a readable checkpoint, but {found}")
    weights = _unwrapped(_load(path, where), where)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise MaskError(f"{where}: {name}: holds values that are not finite; use an undamaged checkpoint")
    return weights


def _load(path: Path, where: str) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise errors of many types on damaged files
        if forbidden := _FORBIDDEN.search(str(error)):
            raise MaskError(
                f"{where}: not a readable checkpoint: it holds Python objects ({forbidden[1]}), which could "
                "run code and are not loaded; save the state dict alone"
            ) from None
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise MaskError(f"{where}: not a readable checkpoint, or damaged ({reason[:100]}); download it again") from None


def _unwrapped(content: Any, where: str) -> dict[str, Tensor]:
    """The tensors by name in a checkpoint's content, without wrappers and without a prefix of all names."""
    while isinstance(content, Mapping) and not all(isinstance(value, Tensor) for value in content.values()):
        content = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
    if not isinstance(content, Mapping) or not content:
        raise MaskError(f"{where}: tensors by name expected, also under {' or '.join(_WRAPPERS)}; it has none")
    words = [str(name).split(".") for name in content]
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*(name[:-1] for name in words), strict=False))
    shared = len(list(alike))
    return {".".join(name[shared:]): tensor for name, tensor in zip(words, content.values(), strict=True)}
