"""Frames of the buffer, to be read while others are added."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.eviction import BufferEntry
from sam_adapt_ros.adaptation.buffer.frame_summary import color_distance, mean_color
from sam_adapt_ros.frame import Frame


class FrameSequence(Sequence[Frame]):
    """The frames that the buffer had when the sequence was made; each is decompressed when it is accessed.

    keys: one for each frame, and never given to another one, so that what is computed of a frame can be stored by it.
    """

    def __init__(self, entries: Sequence[BufferEntry]) -> None:
        self._entries = tuple(entries)
        self.keys = tuple(entry.key for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, place: int) -> Frame: ...
    @overload
    def __getitem__(self, place: slice) -> FrameSequence: ...
    def __getitem__(self, place: int | slice) -> Frame | FrameSequence:
        if isinstance(place, slice):
            return FrameSequence(self._entries[place])
        return self._entries[place].frame.decode()

    def of_keys(self, keys: Sequence[int]) -> FrameSequence:
        """The frames with the given keys, in their order. Raises KeyError for a frame that is not there."""
        by_key = {entry.key: entry for entry in self._entries}
        return FrameSequence([by_key[key] for key in keys])

    def of_color(self, color: NDArray[np.float64], max_distance: float) -> FrameSequence:
        """The frames whose images' mean colour is no farther than that from ``color``, (3,) RGB from 0 to 1."""
        near = [color_distance(found, color) <= max_distance for found in self._colors]
        return FrameSequence(list(itertools.compress(self._entries, near)))

    @property
    def mean_color(self) -> list[float]:
        """The median over the frames of their images' mean colours, RGB from 0 to 1; empty without frames."""
        return np.median(self._colors, axis=0).tolist() if self._entries else []

    @property
    def _colors(self) -> list[NDArray[np.float64]]:
        return [mean_color(entry.traits.descriptor) for entry in self._entries]
