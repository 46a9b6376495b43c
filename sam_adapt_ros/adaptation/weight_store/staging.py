"""Weights on their way into the store: written to a staging folder, read back, compared with the source model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sam_adapt_ros.errors import WeightsError
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.io.store_errors import store_errors

# The weights files' module imports torch, which takes seconds: it is imported only where tensors are read.
if TYPE_CHECKING:
    from typing import TypeAlias

    from sam_adapt_ros.segmentation.weights import Weights

    Candidate: TypeAlias = Weights | str | Path

_STAGED = "candidate.safetensors"


def candidate_name(candidate: Candidate) -> str:
    """What a candidate is called in messages: the file's path where it is one."""
    return str(candidate) if isinstance(candidate, str | Path) else "candidate"


def stage(candidate: Candidate, folder: Path) -> tuple[Path, Weights]:
    """Writes a candidate to a file in ``folder`` and reads it back; returns that file and its content.

    Raises:
        WeightsError: names the candidate and its fault.
        StoreError: names a file that cannot be read.
        OSError: the folder cannot be written.
    """
    from sam_adapt_ros.segmentation import weights as weights_files

    folder.mkdir(exist_ok=True)
    path = folder / _STAGED
    try:
        if isinstance(candidate, str | Path):
            with store_errors(Path(candidate)):
                data = Path(candidate).read_bytes()
            write_atomically(path, data)
        else:
            weights_files.save(path, candidate)
        return path, weights_files.load(path)
    except WeightsError as error:
        raise WeightsError(str(error).replace(str(path), candidate_name(candidate))) from None


def check_fits(candidate: Candidate, weights: Weights, source: Weights) -> None:
    """Compares a candidate's taxonomy, architecture and tensors' shapes with the source model's.

    Raises WeightsError that names the candidate and what differs.
    """
    from sam_adapt_ros.segmentation.weights import check_architecture

    name = candidate_name(candidate)
    for field in ("taxonomy", "classes"):
        expected, got = getattr(source, field), getattr(weights, field)
        if expected != got:
            raise WeightsError(f"{name}: {field}: {expected} expected, got {got}")
    check_architecture(name, weights.architecture, source.architecture)
    for tensor in sorted({*source.state, *weights.state}):
        expected, got = (_shape(each, tensor) for each in (source, weights))
        if expected != got:
            raise WeightsError(f"{name}: {tensor}: {expected} expected, got {got}")


def _shape(weights: Weights, tensor: str) -> str:
    return str(tuple(weights.state[tensor].shape)) if tensor in weights.state else "no such tensor"
