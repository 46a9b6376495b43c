"""One error type a boundary; the message names the file, topic or field and what was expected."""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import ValidationError

StoreErrorReason = Literal["disk_full", "read_only", "locked", "missing", "damaged", "refused", "moved_on", "io"]


class SamAdaptError(Exception):
    """Base of every error that is the input's fault, not ours: shown to the user without a traceback."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by what it holds, whatever ``__init__`` takes: errors of other processes arrive whole."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigError(SamAdaptError):
    """A configuration file or parameter does not fit the schema."""


class TaxonomyError(SamAdaptError):
    """A class set is malformed, or ids do not belong to it."""


class MessageError(SamAdaptError):
    """A message cannot be decoded. ``reason`` is a short snake_case word that drops are counted by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CalibrationError(SamAdaptError):
    """Intrinsics or extrinsics are missing or unusable. ``reason`` is a short word that drops are counted by."""

    def __init__(self, message: str, reason: str = "calibration") -> None:
        super().__init__(message)
        self.reason = reason


class BagError(SamAdaptError):
    """A bag or data-set folder cannot be read or written."""


class OutputError(SamAdaptError):
    """What a run is to leave cannot be written, or would replace what is there."""


class ParallelError(SamAdaptError):
    """Parts of work that is done in parallel failed, or the cluster that was to do it cannot be used."""


class WeightsError(SamAdaptError):
    """A weights file does not fit: damaged, another taxonomy, another architecture."""


class NetworkError(SamAdaptError):
    """A network raised, or returned what it must not. ``reason``: a word that dropped frames are counted by."""

    def __init__(self, reason: Literal["network_failed", "network_shape", "network_not_finite"], message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MaskError(SamAdaptError):
    """A mask generator cannot be built or run (checkpoint missing, unknown name, ...)."""


class StoreError(SamAdaptError):
    """State on disk (weights, frames, a round) cannot be read or written, or a store refuses what it is given.

    ``reason``: the kind of failure; ``moved_on``: the weights that a candidate was compared with are no longer in use.
    """

    def __init__(self, reason: StoreErrorReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def describe_validation(error: ValidationError) -> str:
    """Every field that does not fit its pydantic schema: its dotted name, what was expected, and what it is."""
    lines = []
    for entry in error.errors():
        name, text = ".".join(map(str, entry["loc"])), entry["msg"].removeprefix("Value error, ")
        got = "" if isinstance(entry["input"], dict) else f" (got {entry['input']!r})"
        lines.append(f"{name}: {text}{got}" if name else f"{text}{got}")
    return "; ".join(lines)
