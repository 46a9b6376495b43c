"""COCO's run-length encoded masks, looked up at points without decoding them to pixels.

A mask is a string in which numbers take one or more characters of six bits, the lowest five bits first (pycocotools'
``rleToString``): the lengths of alternating runs off and on the mask, column by column, from the third on as the
difference to the length two before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.io.compiled import compiled


def lookup(
    counts: Sequence[str], size: tuple[int, int], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(M, V) bool: which of V pixels are on which of M masks of an image of ``size`` (H, W).

    Raises ValueError when a mask is not one of an image of that size.
    """
    text = "".join(counts).encode("ascii", "replace")
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum([len(each) for each in counts], out=starts[1:])
    pixels = columns.astype(np.int64) * size[0] + rows
    order = np.argsort(pixels, kind="stable")
    on = np.zeros((len(counts), len(pixels)), np.bool_)
    bad = _lookup(np.frombuffer(text, np.uint8), starts, pixels[order], order, size[0] * size[1], on)
    if bad >= 0:
        raise ValueError(f"mask {bad}: run lengths of an image of {size[0]} x {size[1]} pixels expected")
    return on


@compiled
def _lookup(text, starts, pixels, order, size, on):  # type: ignore[no-untyped-def]
    """Fills ``on`` (M, V); returns the number of the first malformed mask, or -1.

    pixels: (V,) ascending. order: (V,) columns of ``on`` that they are of.
    """
    for mask in range(len(starts) - 1):
        place, end = starts[mask], starts[mask + 1]
        edge, point, number = np.int64(0), 0, 0
        before, last = np.int64(0), np.int64(0)  # the lengths of the two runs before
        while place < end:
            length, shift, more = np.int64(0), 0, True
            while more:
                if place == end or shift > 40:
                    return mask
                bits = np.int64(text[place]) - 48
                if bits < 0 or bits > 63:
                    return mask
                length |= (bits & 31) << shift
                shift += 5
                place += 1
                more = bits & 32 != 0
                if not more and bits & 16:
                    length -= np.int64(1) << shift
            if number > 2:
                length += before
            if length < 0 or edge + length > size:
                return mask
            edge += length
            while point < len(pixels) and pixels[point] < edge:
                on[mask, order[point]] = number & 1
                point += 1
            before, last = last, length
            number += 1
        if edge != size:
            return mask
    return -1
