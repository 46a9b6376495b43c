"""One frame as labelled before and after adaptation: over the image, and where it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.overlay import draw_overlay
from sam_adapt_ros.visualization.pictures import camera_overlay, label_view, legend, mosaic, titled

Image = NDArray[np.uint8]

WIDTH = 1440  # pixels, of three panels
RIGHT, WRONG = np.array([[70, 150, 80], [255, 60, 60]], np.uint8)


@dataclass(frozen=True, eq=False)
class BeforeAfter:
    """A frame, and its (N,) class ids by branch, by the source model and by the adapted weights. why: it is shown."""

    frame: Frame
    before: BranchLabels
    after: BranchLabels
    why: str = ""


@dataclass(frozen=True)
class Change:
    """What adapting changed in a frame: shares of the points that a camera sees (of all, where none does).

    corrected, broken: that became right, and wrong; None without ground truth. changed: that got another class.
    """

    changed: float
    corrected: float | None = None
    broken: float | None = None

    @classmethod
    def between(cls, before: BranchLabels, after: BranchLabels, truth: NDArray[np.uint8] | None) -> Change:
        """before, after: by branch, (N,) class ids. truth: (N,), 255 where unknown."""
        old, new = before[Branch.FUSED], after[Branch.FUSED]
        among = before[Branch.IMAGE] != IGNORE if Branch.IMAGE in before else np.zeros(len(old), bool)
        if not among.any():
            among = old != IGNORE
        changed = float((old != new)[among].mean()) if among.any() else 0.0
        known = among if truth is None else among & (truth != IGNORE)
        if truth is None or not known.any():
            return cls(changed)
        right, was_right = (new == truth)[known], (old == truth)[known]
        return cls(changed, float((right & ~was_right).mean()), float((was_right & ~right).mean()))

    @property
    def gain(self) -> float:
        """What frames are compared by: the share corrected less that broken, or that changed."""
        return self.changed if self.corrected is None or self.broken is None else self.corrected - self.broken

    def describe(self) -> str:
        """In words."""
        if self.corrected is None or self.broken is None:
            return f"{100 * self.changed:.1f} % of the points changed class"
        return f"{100 * self.corrected:.1f} % of the points corrected, {100 * self.broken:.1f} % broken"


def choose_frames(changes: Sequence[Change]) -> dict[int, str]:
    """The frames that tell what adapting did, and which they are: those with most and least gain, and the median one.

    Returns words by place, in the order in which they are to be shown.
    """
    ranked = sorted(range(len(changes)), key=lambda place: (-changes[place].gain, place))
    if not ranked:
        return {}
    most, median, least = ranked[0], ranked[len(ranked) // 2], ranked[-1]
    verb = "changed" if changes[most].corrected is None else "gained"
    last = "lost most" if changes[least].gain < 0 else f"{verb} least"
    names = {least: last, median: "median", most: f"{verb} most"}  # of a frame that is several, the last counts
    return {
        place: f"{names[place].capitalize()} of {len(ranked)} frames: {changes[place].describe()}"
        for place in dict.fromkeys((most, median, least))
    }


def compare(
    frames: Sequence[Frame], before: Sequence[BranchLabels], after: Sequence[BranchLabels]
) -> list[BeforeAfter]:
    """What a report shows of frames as labelled before and after, see ``choose_frames``."""
    changes = [
        Change.between(old, new, frame.ground_truth) for frame, old, new in zip(frames, before, after, strict=True)
    ]
    chosen = choose_frames(changes)
    return [BeforeAfter(frames[place], before[place], after[place], why) for place, why in chosen.items()]


def before_after_picture(shown: BeforeAfter, taxonomy: Taxonomy) -> Image:
    """Side by side: source model, adapted weights and, where it is known, the ground truth; of the fused prediction,
    then of the image branch alone; below, where the fused one is wrong, and what has changed."""
    frame, truth = shown.frame, shown.frame.ground_truth
    both = [("source model", shown.before), ("adapted weights", shown.after)]
    if not frame.views:
        panels = [titled(label_view(frame, labels[Branch.FUSED], taxonomy), title) for title, labels in both]
        return np.vstack([mosaic(panels, 2, WIDTH), legend(taxonomy, WIDTH)])
    view = frame.views[0]
    fused = [titled(camera_overlay(frame, view, labels[Branch.FUSED], taxonomy), title) for title, labels in both]
    image = [
        titled(camera_overlay(frame, view, labels[Branch.IMAGE], taxonomy), f"{title}: image branch alone")
        for title, labels in both
    ]
    if truth is None:
        return np.vstack([mosaic([*fused, *image], 2, WIDTH), legend(taxonomy, WIDTH)])
    fused.append(titled(camera_overlay(frame, view, truth, taxonomy), "ground truth"))
    image.append(titled(view.image, "image"))
    mistakes = [_mistakes(frame, labels[Branch.FUSED], truth, title) for title, labels in both]
    mistakes.append(_changes(frame, shown.before[Branch.FUSED], shown.after[Branch.FUSED], truth))
    return np.vstack([mosaic([*fused, *image, *mistakes], 3, WIDTH), legend(taxonomy, WIDTH)])


def _mistakes(frame: Frame, labels: NDArray[np.uint8], truth: NDArray[np.uint8], title: str) -> Image:
    """The darkened image, with right points green and wrong ones red."""
    drawn, right, wrong = _draw_right_and_wrong(frame, labels == truth, truth != IGNORE)
    return titled(drawn, f"{title}: wrong in red, {100 * wrong / max(right + wrong, 1):.1f} % of the points")


def _changes(frame: Frame, before: NDArray[np.uint8], after: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Image:
    """The darkened image, with the points that became right in green and those that became wrong in red."""
    right = after == truth
    drawn, corrected, broken = _draw_right_and_wrong(frame, right, (truth != IGNORE) & (right != (before == truth)))
    return titled(drawn, f"corrected: {corrected} points (green), broken: {broken} (red)")


def _draw_right_and_wrong(frame: Frame, right: NDArray[np.bool_], among: NDArray[np.bool_]) -> tuple[Image, int, int]:
    """The first camera's image with the points ``among``, (N,), that it sees; how many are right, and wrong."""
    view = frame.views[0]
    projection = project(frame.points, view)
    shown = projection.valid & among
    colors = np.where(right[shown, None], RIGHT, WRONG)
    drawn = draw_overlay((view.image * 0.5).astype(np.uint8), projection.uv[shown], projection.depth[shown], colors)
    correct = int(np.count_nonzero(right[shown]))
    return drawn, correct, len(colors) - correct
