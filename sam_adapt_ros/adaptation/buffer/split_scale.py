"""Splits of short drives: blocks smaller than usual or, of a vehicle that stands, blocks of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.movement import NOMINAL_SPEED
from sam_adapt_ros.adaptation.buffer.spatial_split import SpatialSplit
from sam_adapt_ros.config import BufferConfig

_FACTORS = (1.0, 2.0, 4.0, 8.0)
_TURNS = 8
_BLOCKS = 5.0  # of time that a stay is split into, at first


@dataclass(frozen=True)
class SplitScale:
    """Where a frame is on the map of ``SpatialSplit``: its metres, or the seconds of its stamp at a nominal speed,
    ``factor`` times. turn: added to the seed of the choice of blocks."""

    factor: float = 1.0
    by_time: bool = False
    turn: int = 0

    def split(self, config: BufferConfig) -> SpatialSplit:
        """A split of an empty map."""
        return SpatialSplit(config.held_out, config.split_block, config.split_gap, config.seed + self.turn)

    def place(self, position: NDArray[np.float64], stamp_ns: int) -> NDArray[np.float64]:
        """(2,) metres on that map. position: (2,) metres."""
        if self.by_time:
            return np.array([stamp_ns * 1e-9 * NOMINAL_SPEED * self.factor, 0.0])
        return position * self.factor

    def describe(self, block: float) -> str:
        """The size of the blocks in words. block: metres on that map."""
        return f"{block / NOMINAL_SPEED / self.factor:.1f} s" if self.by_time else f"{block / self.factor:.1f} m"


class FinerSplit(NamedTuple):
    """kinds: of each frame, whether it is held out; None where it is too near to frames of the other kind."""

    scale: SplitScale
    split: SpatialSplit
    kinds: list[bool | None]


def split_finely(
    config: BufferConfig, frames: Sequence[tuple[NDArray[np.float64], int]], training: int, held_out: int
) -> FinerSplit | None:
    """The coarsest split with so many frames to learn from and held out; None where there is none. A short drive has
    but a few blocks, so that other choices of the held-out ones are tried, too.

    frames: (2,) position and stamp of each, in their order.
    """
    for scale in _scales([stamp for _, stamp in frames], config.split_block):
        for turn in range(_TURNS):
            turned = replace(scale, turn=turn)
            split = turned.split(config)
            kinds = [split.is_held_out(turned.place(*frame)) for frame in frames]
            if kinds.count(False) >= training and kinds.count(True) >= held_out:
                return FinerSplit(turned, split, kinds)
    return None


def _scales(stamps_ns: Sequence[int], block: float) -> Iterator[SplitScale]:
    yield from map(SplitScale, _FACTORS)
    seconds = (max(stamps_ns) - min(stamps_ns)) * 1e-9 if stamps_ns else 0.0
    if seconds > 0:
        whole = _BLOCKS * block / (seconds * NOMINAL_SPEED)
        for factor in _FACTORS:
            yield SplitScale(whole * factor, by_time=True)
