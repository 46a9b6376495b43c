"""One frame as labelled before and after learning: over the image, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.evaluation.overlay import draw_overlay
from sam_adapt_ros.evaluation.pictures import camera_overlay, label_view, legend, mosaic, titled
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.taxonomy import Taxonomy

Image = NDArray[np.uint8]

WIDTH = 1440  # pixels, of three panels
RIGHT, WRONG = (70, 150, 80), (255, 60, 60)


@dataclass(frozen=True, eq=False)
class BeforeAfter:
    """A frame, and its (N,) class ids by the source and by the last weights."""

    frame: Frame
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


def before_after_picture(shown: BeforeAfter, taxonomy: Taxonomy) -> Image:
    """Side by side: as shipped, by the last weights and, where it is known, the truth; below, what is wrong in red."""
    frame, truth = shown.frame, shown.frame.ground_truth
    labelled = [("as shipped", shown.before), ("by the last weights", shown.after)]
    if not frame.views:
        panels = [titled(label_view(frame, labels, taxonomy), title) for title, labels in labelled]
        return np.vstack([mosaic(panels, 2, WIDTH), legend(taxonomy, WIDTH)])
    if truth is not None:
        labelled.append(("truth", truth))
    panels = [titled(camera_overlay(frame, frame.views[0], labels, taxonomy), title) for title, labels in labelled]
    columns = len(panels)
    if truth is not None:
        panels += [_mistakes(frame, labels, truth, title) for title, labels in labelled[:2]]
        panels.append(titled(frame.views[0].image, "the image"))
    return np.vstack([mosaic(panels, columns, WIDTH), legend(taxonomy, WIDTH)])


def _mistakes(frame: Frame, labels: NDArray[np.uint8], truth: NDArray[np.uint8], title: str) -> Image:
    """The image, darkened, with right points green and wrong ones red."""
    view = frame.views[0]
    projection = project(frame.points, view)
    shown = projection.valid & (truth != IGNORE)
    wrong = (labels != truth)[shown]
    colors = Taxonomy("mistakes", ("right", "wrong"), np.array([RIGHT, WRONG], np.uint8))
    dark = (view.image * 0.5).astype(np.uint8)
    drawn = draw_overlay(dark, projection.uv[shown], projection.depth[shown], wrong.astype(np.uint8), colors)
    share = f"{100 * wrong.mean():.1f} %" if len(wrong) else "none"
    return titled(drawn, f"{title}: wrong in red, {share} of the points")
