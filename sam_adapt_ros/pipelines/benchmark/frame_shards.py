"""What a benchmark keeps of its frames on disk, in shards of a few frames: predictions, and pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.io.arrays import Arrays, load_arrays, save_arrays
from sam_adapt_ros.parallel import Shard
from sam_adapt_ros.pseudo_labels.selection import Candidates

SELECTIONS = (Branch.IMAGE, Branch.POINTS, Branch.FUSED)
"""Whose predictions are selected, in the order in which arrays have them."""
FRAMES = 32
"""Of a shard."""


def split_frames(count: int, each: int = FRAMES) -> list[Shard[range]]:
    """Parts of the places 0 to ``count`` - 1; their names are of files."""
    starts = range(0, count, each)
    parts = [range(start, min(start + each, count)) for start in starts]
    return [Shard(f"{part.start:06d}.npz", part, len(part)) for part in parts]


@dataclass(frozen=True, eq=False)
class PredictedFrame:
    """A model's predictions of the P points of a frame that it was given.

    labels: (3, P) uint8 the winning classes of each of ``SELECTIONS``, 255 = none. probability: (3, P) float32, theirs.
    truth: (P,) uint8 true classes, 255 = unknown. rows: (P,) int32 of the frame's points.
    """

    id: str
    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]
    truth: NDArray[np.uint8]
    rows: NDArray[np.int32]

    def candidates(self, selection: int) -> Candidates:
        return Candidates(self.labels[selection], self.probability[selection])


def save_predictions(path: Path, frames: Sequence[PredictedFrame]) -> None:
    """Raises StoreError that names the file."""
    arrays: Arrays = {
        "labels": np.concatenate([frame.labels for frame in frames], axis=1),
        "probability": np.concatenate([frame.probability for frame in frames], axis=1),
        "truth": np.concatenate([frame.truth for frame in frames]),
        "rows": np.concatenate([frame.rows for frame in frames]),
        "points": np.array([len(frame.rows) for frame in frames], np.int64),
    }
    save_arrays(path, arrays, {"ids": [frame.id for frame in frames]})


def load_predictions(path: Path) -> Iterator[PredictedFrame]:
    """Raises StoreError, ``missing`` or ``damaged``, that names the file."""
    arrays, facts = load_arrays(path)
    try:
        cuts = np.cumsum(arrays["points"])[:-1]
        parts = [np.split(arrays[name], cuts, axis=-1) for name in ("labels", "probability", "truth", "rows")]
        frames = [PredictedFrame(*each) for each in zip(facts["ids"], *parts, strict=True)]
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError("damaged", f"{path}: not predictions ({type(error).__name__}: {error})") from None
    yield from frames


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """Pseudo-labels of the P points of a frame that a camera sees.

    labels: (3, P) uint8 of each of ``SELECTIONS``, 255 = none. rows: (P,) int32 of the frame's points.
    """

    id: str
    labels: NDArray[np.uint8]
    rows: NDArray[np.int32]


def save_labels(path: Path, frames: Sequence[LabelledFrame], counts: Arrays) -> None:
    """counts: further arrays, see ``load_counts``. Raises StoreError that names the file."""
    arrays: Arrays = {f"count_{name}": array for name, array in counts.items()}
    for place, frame in enumerate(frames):
        arrays[f"labels_{place}"], arrays[f"rows_{place}"] = frame.labels, frame.rows
    save_arrays(path, arrays, {"ids": [frame.id for frame in frames]})


def load_counts(path: Path) -> Arrays:
    """The further arrays that ``save_labels`` was given. Raises StoreError that names the file."""
    arrays, _ = load_arrays(path)
    return {name.removeprefix("count_"): array for name, array in arrays.items() if name.startswith("count_")}


@dataclass(frozen=True)
class StoredLabels:
    """Looks up pseudo-labels by the frame's id.

    by_branch: each branch is given what was selected of its own predictions; otherwise both are given the fused ones'.
    """

    folder: Path
    ids: tuple[str, ...]
    by_branch: bool
    frames: int = FRAMES

    def __call__(self, frame_id: str, points: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """(N,) the labels of a frame of N points, and those of its image branch, None where they are the same."""
        place = _places(self.ids)[frame_id]
        path = self.folder / f"{place - place % self.frames:06d}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                labels, rows = (file[f"{name}_{place % self.frames}"] for name in ("labels", "rows"))
            spread = np.full((len(labels), points), IGNORE, np.uint8)
            spread[:, rows] = labels
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise StoreError("damaged", f"{path}: no labels of frame {frame_id} ({error})") from None
        image, of_points, fused = spread
        return (of_points, image) if self.by_branch else (fused, None)


@lru_cache(maxsize=4)
def _places(ids: tuple[str, ...]) -> dict[str, int]:
    return {each: place for place, each in enumerate(ids)}
