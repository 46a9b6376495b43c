"""What the buffer needs to know of a frame and its prediction."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE, Frame

_GRID = 4  # cells a side of the image that the descriptor holds the mean colours of


@dataclass(frozen=True, eq=False)
class FrameSummary:
    """Classes and looks of a frame.

    histogram: (C,) shares of the predicted classes, over the points that have a label; zeros when none has.
    descriptor: (C + 48,) of the same and the images' colours, at most about 1 apart for entirely different frames.
    """

    histogram: NDArray[np.float64]
    descriptor: NDArray[np.float64]

    @property
    def tone(self) -> NDArray[np.float64]:
        return tone(self.descriptor)


def tone(descriptor: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) the images' mean colour, RGB from 0 to 1, as the last part of a descriptor has it: day and night differ by
    more than any two places."""
    colors = descriptor[-3 * _GRID * _GRID :].reshape(-1, 3)
    return colors.mean(0) * np.sqrt(colors.size)


def summarize(frame: Frame, labels: NDArray[np.uint8], classes: int) -> FrameSummary:
    """The summary of a frame and its (N,) predicted labels, 255 = none. classes: C."""
    labels = labels[labels != IGNORE]
    histogram = np.bincount(labels, minlength=classes)[:classes] / max(len(labels), 1)
    colors = np.zeros((_GRID, _GRID, 3))
    for view in frame.views:
        small = cv2.resize(view.image, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
        colors += np.asarray(small, np.float64) / 255 / len(frame.views)
    parts = (np.sqrt(histogram) / np.sqrt(2), colors.ravel() / np.sqrt(colors.size))
    return FrameSummary(histogram, np.concatenate(parts))
