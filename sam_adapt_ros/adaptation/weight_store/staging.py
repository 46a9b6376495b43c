"""Weights on their way into the store: written aside, read back, and compared with the source model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam_adapt_ros.errors import WeightsError
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.io.store_errors import store_errors

# The weights files' module imports torch, which takes seconds: only what reads tensors pays for it.
if TYPE_CHECKING:
    from typing import TypeAlias

    from torch import Tensor

    from sam_adapt_ros.config import ArchitectureConfig
    from sam_adapt_ros.segmentation.weights import Weights

    Candidate: TypeAlias = Weights | Mapping[str, Tensor] | str | Path

STAGED = "candidate.safetensors"


@dataclass(frozen=True, eq=False)
class Signature:
    """What every version of a store has in common with its source model."""

    taxonomy: str
    classes: tuple[str, ...]
    architecture: ArchitectureConfig
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, weights: Weights) -> Signature:
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.state.items()}
        return cls(weights.taxonomy, weights.classes, weights.architecture, shapes)

    def check(self, source: str | Path, weights: Weights) -> None:
        """Raises WeightsError that names ``source`` and what differs."""
        from sam_adapt_ros.segmentation.weights import check_architecture

        theirs = Signature.of(weights)
        for field in ("taxonomy", "classes"):
            if getattr(self, field) != getattr(theirs, field):
                raise WeightsError(f"{source}: {field}: {getattr(self, field)} expected, got {getattr(theirs, field)}")
        check_architecture(source, theirs.architecture, self.architecture)
        for name in sorted({*self.shapes, *theirs.shapes}):
            ours, other = (str(shapes.get(name, "no such tensor")) for shapes in (self.shapes, theirs.shapes))
            if ours != other:
                raise WeightsError(f"{source}: {name}: {ours} expected, got {other}")


def describe(weights: Candidate) -> str:
    """What a candidate is called in messages."""
    return str(weights) if isinstance(weights, str | Path) else "candidate"


def stage(weights: Candidate, folder: Path, like: Path | None = None, parent: str = "") -> tuple[Path, Weights]:
    """Writes a candidate to a file in ``folder`` and reads it back; returns that file and what is in it.

    like: the weights file whose taxonomy and architecture a bare state dict is of. parent: what it was made from.
    Raises WeightsError that names the candidate and its fault, StoreError for a file that cannot be read, OSError.
    """
    from sam_adapt_ros.segmentation import weights as weights_files

    folder.mkdir(exist_ok=True)
    path = folder / STAGED
    try:
        if isinstance(weights, str | Path):
            with store_errors(Path(weights)):
                data = Path(weights).read_bytes()
            write_atomically(path, data)
        else:
            if not isinstance(weights, weights_files.Weights):
                if like is None:
                    raise WeightsError(f"{path}: a state dict alone does not say what it is for")
                weights = replace(weights_files.load(like), state=weights, parent=parent)
            weights_files.save(path, weights)
        return path, weights_files.load(path)
    except WeightsError as error:
        raise WeightsError(str(error).replace(str(path), describe(weights))) from None


def dump(weights: Weights | Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors as they are, faults included, to be looked at. Raises OSError, ValueError for what cannot be."""
    import safetensors.torch

    state = weights if isinstance(weights, Mapping) else weights.state
    try:
        data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    except Exception as error:  # safetensors' own error type does not derive from a built-in one
        raise ValueError(f"{path}: {error}") from None
    path.write_bytes(data)
