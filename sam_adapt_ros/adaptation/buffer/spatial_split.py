"""The spatial split: which places are used for training, and which are held out for evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Square = tuple[int, int]
_REMEMBERED = 200_000  # squares; beyond that the oldest are forgotten, which are far from where the vehicle is


class SpatialSplit:
    """Splits the map into squares that are learned from or held out as a whole, for good when they are first entered.

    Of every ``1 / share`` squares, in the order of the drive, one is held out, chosen by the seed. A frame is used only
    where it is ``gap`` metres or more from every square of the other kind: so no frame ever learned from is nearer than
    that to a frame held out, on the second lap as on the first.

    share: of squares held out, 0 to 0.5. block: side of a square, metres. gap: metres, less than half of that.
    """

    def __init__(self, share: float, block: float, gap: float, seed: int) -> None:
        self._period = round(1 / share) if share > 0 else 0
        self._block, self._gap, self._seed = block, gap, seed
        self._held_out: dict[Square, bool] = {}
        self._entered = 0

    def is_held_out(self, position: NDArray[np.float64]) -> bool | None:
        """Whether the place at ``position``, (2,) metres, is held out; None where it is too near to the other kind."""
        x, y = (position / self._block).tolist()
        square = (int(np.floor(x)), int(np.floor(y)))
        if square not in self._held_out:
            self._enter(square)
        kind = self._held_out[square]
        for i, j in itertools.product((-1, 0, 1), repeat=2):
            other = self._held_out.get((square[0] + i, square[1] + j), kind)
            if other != kind and self._distance(position, (square[0] + i, square[1] + j)) < self._gap:
                return None
        return kind

    def _enter(self, square: Square) -> None:
        group, place = divmod(self._entered, self._period) if self._period else (0, -1)
        chosen = np.random.default_rng((self._seed, group)).integers(self._period) if self._period else 0
        self._held_out[square] = bool(place == chosen)
        self._entered += 1
        if len(self._held_out) > _REMEMBERED:
            del self._held_out[next(iter(self._held_out))]

    def _distance(self, position: NDArray[np.float64], square: Square) -> float:
        low = np.array(square) * self._block
        return float(np.linalg.norm(np.maximum(0, np.maximum(low - position, position - low - self._block))))

    # State ------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[np.int64]]:
        """``squares``, (S, 3) x, y and whether held out, and ``entered``, how many there have ever been."""
        rows = [(x, y, held_out) for (x, y), held_out in self._held_out.items()]
        return {"squares": np.array(rows, np.int64).reshape(-1, 3), "entered": np.array(self._entered, np.int64)}

    def restore(self, state: dict[str, NDArray[np.int64]]) -> None:
        """What ``state`` gave."""
        rows: Iterable[tuple[int, int, int]] = map(tuple, state["squares"].tolist())
        self._held_out = {(x, y): bool(held_out) for x, y, held_out in rows}
        self._entered = int(state["entered"])
