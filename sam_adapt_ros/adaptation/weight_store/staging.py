"""Weights on their way into the store: written to a staging folder, read back, compared with the source model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sam_adapt_ros.errors import WeightsError
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.io.store_errors import store_errors

# The weights files' module imports torch, which takes seconds: it is imported only where tensors are read.
if TYPE_CHECKING:
    from typing import TypeAlias

    from sam_adapt_ros.config import ArchitectureConfig
    from sam_adapt_ros.segmentation.weights import Weights

    Candidate: TypeAlias = Weights | str | Path

_STAGED = "candidate.safetensors"


@dataclass(frozen=True, eq=False)
class Signature:
    """What every version of a store has in common with its source model. shapes: of the tensors, by name."""

    taxonomy: str
    classes: tuple[str, ...]
    architecture: ArchitectureConfig
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, weights: Weights) -> Signature:
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.state.items()}
        return cls(weights.taxonomy, weights.classes, weights.architecture, shapes)

    def check(self, candidate: Candidate, weights: Weights) -> None:
        """Raises WeightsError that names the candidate and what differs."""
        from sam_adapt_ros.segmentation.weights import check_architecture

        name, other = candidate_name(candidate), Signature.of(weights)
        for field in ("taxonomy", "classes"):
            if getattr(self, field) != getattr(other, field):
                raise WeightsError(f"{name}: {field}: {getattr(self, field)} expected, got {getattr(other, field)}")
        check_architecture(name, other.architecture, self.architecture)
        for tensor in sorted({*self.shapes, *other.shapes}):
            expected, got = (str(each.shapes.get(tensor, "no such tensor")) for each in (self, other))
            if expected != got:
                raise WeightsError(f"{name}: {tensor}: {expected} expected, got {got}")


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
