"""A frame and its prediction in few numbers: what is predicted, how confidently, and what the images look like."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE, Frame

_GRID = 4  # cells along each side of the image, whose mean colours the descriptor holds


@dataclass(frozen=True, eq=False)
class FrameSummary:
    """histogram: (C,) shares of the predicted classes, over the points that have a label; zeros when none has.

    descriptor: (C + 48,) of the same and of the images' colours on a grid; entirely different frames are about 1 apart.
    confidence: mean probability of the labels; NaN where it is not known.
    """

    histogram: NDArray[np.float64]
    descriptor: NDArray[np.float64]
    confidence: float = float("nan")

    @property
    def mean_color(self) -> NDArray[np.float64]:
        """(3,) of the images, RGB from 0 to 1."""
        return mean_color(self.descriptor)


def summarize(
    frame: Frame, labels: NDArray[np.uint8], classes: int, probability: NDArray[np.float32] | None = None
) -> FrameSummary:
    """The summary of a frame and its (N,) predicted labels, 255 = none, with their (N,) probability where it is known.

    classes: C.
    """
    labelled = labels != IGNORE
    count = int(labelled.sum())
    histogram = np.bincount(labels[labelled], minlength=classes)[:classes] / max(count, 1)
    colors = np.zeros((_GRID, _GRID, 3))
    for view in frame.views:
        small = cv2.resize(view.image, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
        colors += np.asarray(small, np.float64) / 255 / len(frame.views)
    descriptor = np.concatenate((np.sqrt(histogram) / np.sqrt(2), colors.ravel() / np.sqrt(colors.size)))
    if probability is None or not count:
        return FrameSummary(histogram, descriptor)
    return FrameSummary(histogram, descriptor, float(probability[labelled].mean()))


def mean_color(descriptor: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) the mean colour of a frame's images, from its descriptor. Day and night differ in it more than places do."""
    colors = descriptor[-3 * _GRID * _GRID :].reshape(-1, 3)
    return colors.mean(0) * np.sqrt(colors.size)


def color_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square difference over the channels of colours, (..., 3) RGB from 0 to 1; 0 to 1."""
    return np.sqrt(np.square(first - second).mean(-1))
