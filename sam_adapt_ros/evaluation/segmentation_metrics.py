"""Predictions against ground truth: confusion of the image branch, the point branch, and both together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch, BranchLabels
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.segmentation import Prediction, Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

FUSED_SEEN = "fused_seen"
"""Key of the fused prediction over the points that a camera sees, as in the published protocol."""


@dataclass(eq=False)
class Evaluation:
    """Confusions by ``Branch`` (``2d`` over the points that a camera sees, the others over all) and ``FUSED_SEEN``.

    frames: frames with ground truth that were counted.
    """

    taxonomy: Taxonomy
    confusion: dict[str, Confusion] = field(default_factory=dict)
    frames: int = 0

    def __post_init__(self) -> None:
        for name in (*Branch, FUSED_SEEN):
            self.confusion.setdefault(name, Confusion(len(self.taxonomy)))

    def add(self, frame: Frame, prediction: Prediction) -> None:
        """Counts one frame; one without ground truth is passed over."""
        if frame.ground_truth is not None:
            self.add_labels(frame.ground_truth, prediction.by_branch())

    def add_labels(self, truth: NDArray[np.uint8], labels: BranchLabels) -> None:
        """Counts one frame. truth: (N,) class ids, 255 where unknown."""
        self.frames += 1
        for branch, predicted in labels.items():
            known = predicted != IGNORE
            self.confusion[branch].add(truth[known], predicted[known])
        if Branch.IMAGE in labels:
            fused = labels[Branch.FUSED]
            seen = (labels[Branch.IMAGE] != IGNORE) & (fused != IGNORE)
            self.confusion[FUSED_SEEN].add(truth[seen], fused[seen])

    def __iadd__(self, other: Evaluation) -> Evaluation:
        """Adds the counts of an evaluation over the same classes."""
        for key, confusion in other.confusion.items():
            self.confusion[key] += confusion
        self.frames += other.frames
        return self

    @property
    def points(self) -> int:
        """Labelled points that were counted; without any there is no IoU."""
        return self.confusion[Branch.FUSED].points

    def miou(self, key: str = Branch.FUSED) -> float:
        """Mean IoU of a branch, or of ``FUSED_SEEN``; NaN where no labelled point was counted, see ``score_text``."""
        return self.confusion[key].miou()

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` has: mean IoU and IoU a class (None where a class does not occur), by key."""
        classes = self.taxonomy.classes
        values: dict[str, Any] = json_values(
            {
                "frames": self.frames,
                "miou": {key: self.miou(key) for key in self.confusion},
                "iou": {key: dict(zip(classes, c.iou(), strict=True)) for key, c in self.confusion.items()},
                "confusion": {key: c.matrix for key, c in self.confusion.items()},
            }
        )
        return values


def evaluate(frames: Iterable[Frame], segmenter: Segmenter) -> Evaluation:
    """Labels every frame and compares it with its ground truth."""
    evaluation = Evaluation(segmenter.taxonomy)
    for frame in frames:
        evaluation.add(frame, segmenter(frame))
    return evaluation


def miou_figures(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Mean IoU by name, of the fused prediction over the points that a camera sees; ``all_points`` has that over all
    points, ``by_branch`` that of the branches alone."""
    return {
        **{name: evaluation.miou(FUSED_SEEN) for name, evaluation in evaluations.items()},
        "all_points": {name: evaluation.miou() for name, evaluation in evaluations.items()},
        "by_branch": {
            name: {branch: evaluation.miou(branch) for branch in NETWORK_BRANCHES}
            for name, evaluation in evaluations.items()
        },
    }


def score_text(value: float | None) -> str:
    """An IoU, or a mean of them, for people: a dash where there is none."""
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"
