"""What a round of learning works on, fixed when it begins and kept on disk, so that it can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer, FrameSequence
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.arrays import load_arrays, save_arrays

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Plan:
    """number: of the round. current: name of the version that was in use. recipe: what it is run with, as text.
    cause: why it began. kept_before: how many frames the buffer had ever kept by then.

    training, held_out: keys of the buffer's frames. labels: by key, (N,) uint8 pseudo-labels of the frame's points.
    opinions: by key of the held-out frames, (N,) uint8, what the teacher says of every point, sure or not.
    """

    number: int
    current: str
    recipe: str
    cause: str
    training: tuple[int, ...]
    held_out: tuple[int, ...]
    labels: dict[int, Labels]
    opinions: dict[int, Labels]
    kept_before: int = 0

    def save(self, path: Path) -> None:
        """Raises StoreError that names the file."""
        arrays: dict[str, NDArray[Any]] = {
            "training": np.array(self.training, np.int64),
            "held_out": np.array(self.held_out, np.int64),
            **{f"labels_{key}": labels for key, labels in self.labels.items()},
            **{f"opinions_{key}": labels for key, labels in self.opinions.items()},
        }
        names = ("number", "current", "recipe", "cause", "kept_before")
        facts = {name: getattr(self, name) for name in names}
        save_arrays(path, arrays, facts)

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Raises StoreError that names the file."""
        arrays, facts = load_arrays(path)
        try:
            training, held_out = (tuple(arrays[name].tolist()) for name in ("training", "held_out"))
            labels = {key: arrays[f"labels_{key}"] for key in (*training, *held_out)}
            opinions = {key: arrays[f"opinions_{key}"] for key in held_out}
            number, kept_before = int(facts["number"]), int(facts["kept_before"])
            current, recipe, cause = (str(facts[name]) for name in ("current", "recipe", "cause"))
            return cls(number, current, recipe, cause, training, held_out, labels, opinions, kept_before)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError("damaged", f"{path}: not a round's plan ({type(error).__name__}: {error})") from None

    def fits(self, buffer: FrameBuffer, current: str, recipe: str) -> bool:
        """Whether the round can go on: same weights, same recipe, and every frame still in the buffer."""
        keys = {*buffer.training().keys, *buffer.held_out().keys}
        return self.current == current and self.recipe == recipe and keys.issuperset((*self.training, *self.held_out))


def pick(frames: FrameSequence, keys: Sequence[int]) -> FrameSequence:
    """The frames of the given keys, in the order of the keys."""
    place = {key: index for index, key in enumerate(frames.keys)}
    return frames.only([place[key] for key in keys])
