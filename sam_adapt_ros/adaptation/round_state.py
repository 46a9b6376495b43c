"""What a round of learning works on: fixed when it begins, and kept on disk so that it can be resumed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.arrays import load_arrays, save_arrays
from sam_adapt_ros.io.store_errors import store_errors
from sam_adapt_ros.pseudo_labels import Selection

Labels = NDArray[np.uint8]


class Phase(str, Enum):
    """What a round is doing; ``WATCHING`` between rounds."""

    WATCHING = "watching"
    STATISTICS = "statistics"
    PSEUDO_LABELS = "pseudo_labels"
    TRAINING = "training"
    EVALUATION = "evaluation"


@dataclass(frozen=True, eq=False)
class RoundState:
    """number: of the round. current: name of the version that was in use. recipe: what it is run with, as text.
    cause: why it began. kept_before: how many frames the buffer had ever kept by then.

    training, held_out: keys of the buffer's frames. pseudo_labels: by key, (N,) uint8 of the frame's points.
    ensemble_labels: by key of the held-out frames, (N,) uint8, the ensemble's label of every point, selected or not.
    Both are empty until they have been made.
    """

    number: int
    current: str
    recipe: str
    cause: str
    training: tuple[int, ...]
    held_out: tuple[int, ...]
    pseudo_labels: dict[int, Labels]
    ensemble_labels: dict[int, Labels]
    kept_before: int = 0

    def with_labels(
        self, training: Sequence[Labels], held_out: Sequence[Labels], held_out_selection: Sequence[Selection]
    ) -> RoundState:
        """The state with pseudo-labels, in the order of the keys."""
        labels = zip((*self.training, *self.held_out), (*training, *held_out), strict=True)
        ensemble = {key: each.ensemble for key, each in zip(self.held_out, held_out_selection, strict=True)}
        return replace(self, pseudo_labels=dict(labels), ensemble_labels=ensemble)

    def fits(self, keys: Collection[int], current: str, recipe: str) -> bool:
        """Whether the round can go on: same weights, same recipe, and every frame still among the buffer's keys."""
        return self.current == current and self.recipe == recipe and {*self.training, *self.held_out} <= {*keys}

    def save(self, path: Path) -> None:
        """Raises StoreError that names the file."""
        arrays: dict[str, NDArray[Any]] = {
            "training": np.array(self.training, np.int64),
            "held_out": np.array(self.held_out, np.int64),
            **{f"labels_{key}": labels for key, labels in self.pseudo_labels.items()},
            **{f"ensemble_{key}": labels for key, labels in self.ensemble_labels.items()},
        }
        names = ("number", "current", "recipe", "cause", "kept_before")
        save_arrays(path, arrays, {name: getattr(self, name) for name in names})

    @classmethod
    def load(cls, path: Path) -> RoundState:
        """Raises StoreError that names the file."""
        arrays, facts = load_arrays(path)
        try:
            training, held_out = (tuple(arrays[name].tolist()) for name in ("training", "held_out"))
            labels = {key: arrays[f"labels_{key}"] for key in (*training, *held_out)}
            ensemble = {key: arrays[f"ensemble_{key}"] for key in held_out}
            number, kept_before = int(facts["number"]), int(facts["kept_before"])
            current, recipe, cause = (str(facts[name]) for name in ("current", "recipe", "cause"))
            return cls(number, current, recipe, cause, training, held_out, labels, ensemble, kept_before)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError("damaged", f"{path}: not a round's state ({type(error).__name__}: {error})") from None


class RoundFiles:
    """Where a round is kept, so that another process can go on with it. folder: None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def checkpoint(self) -> Path | None:
        """Of the student's training."""
        return None if self._folder is None else self._folder / "training.safetensors"

    def save(self, state: RoundState) -> None:
        """Raises StoreError."""
        if self._folder is not None:
            state.save(self._folder / "round.npz")

    def load(self) -> RoundState:
        """Raises StoreError: ``missing`` where no round is kept, ``damaged``."""
        if self._folder is None:
            raise StoreError("missing", "no folder to keep a round in")
        return RoundState.load(self._folder / "round.npz")

    def remove(self) -> None:
        """Raises StoreError."""
        if self._folder is not None and self._folder.exists():
            with store_errors(self._folder):
                for name in ("round.npz", "training.safetensors"):
                    (self._folder / name).unlink(missing_ok=True)
