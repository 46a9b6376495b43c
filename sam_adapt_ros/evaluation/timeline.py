"""Adaptation along a drive: scores of the published labels and of the source model's, frame by frame, and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation, miou_figures
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.taxonomy import Taxonomy

WINDOW = 10
"""Frames that a mean IoU along the drive is taken over: one frame alone lacks classes."""


@dataclass(frozen=True)
class Event:
    """What was decided after ``frame`` frames. promoted: the candidate, "" when it was refused or rolled back."""

    frame: int
    promoted: str
    reason: str
    rolled_back: bool = False

    @property
    def outcome(self) -> str:
        return "rolled back" if self.rolled_back else "promoted" if self.promoted else "refused"


class Track:
    """The labels of one model, or of a model that changes, along a drive.

    evaluation: of all frames with ground truth. agreement: by frame, the share of the points that a camera sees for
    which both branches predict the same class; NaN where none has both predictions.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.evaluation = Evaluation(taxonomy)
        self.agreement: list[float] = []
        self._confusions: dict[Branch, list[Confusion]] = {Branch.FUSED: [], Branch.IMAGE: []}

    def add(self, frame: Frame, labels: BranchLabels) -> None:
        image, points = labels[Branch.IMAGE], labels[Branch.POINTS]
        same = (image == points)[(image != IGNORE) & (points != IGNORE)]
        seen = image != IGNORE
        if not seen.any():
            seen = labels[Branch.FUSED] != IGNORE
        self.agreement.append(float(same.mean()) if len(same) else float("nan"))
        if frame.ground_truth is not None:
            self.evaluation.add_labels(frame.ground_truth, labels)
        for branch, confusions in self._confusions.items():
            confusions.append(Confusion(len(self.evaluation.taxonomy)))
            if frame.ground_truth is not None:
                confusions[-1].add(frame.ground_truth[seen], labels[branch][seen])

    def windowed_miou(self, branch: Branch) -> list[float]:
        """By frame: mean IoU over the last ``WINDOW`` frames, of the points that a camera sees, or of all points of a
        frame in which none does."""
        lasts = range(1, len(self.agreement) + 1)
        return [self.miou(branch, range(max(0, last - WINDOW), last)) for last in lasts]

    def miou(self, branch: Branch, places: range) -> float:
        """Mean IoU over the frames at ``places``, of the same points."""
        together = Confusion(len(self.evaluation.taxonomy))
        for confusion in self._confusions[branch][places.start : places.stop]:
            together += confusion
        return together.miou()


class Timeline:
    """online: the labels of the weights in use, as they are published. source: those of the source model.

    events: the gate's decisions and the rollbacks, in order.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.online, self.source = Track(taxonomy), Track(taxonomy)
        self.events: list[Event] = []

    def __len__(self) -> int:
        """Frames so far."""
        return len(self.online.agreement)

    def add(self, frame: Frame, online: BranchLabels, source: BranchLabels) -> None:
        self.online.add(frame, online)
        self.source.add(frame, source)

    def decide(self, promoted: str, reason: str, frame: int | None = None) -> None:
        """The gate's decision. frame: how many frames had been labelled by then; None: all so far."""
        self.events.append(Event(len(self) if frame is None else frame, promoted, reason))

    def roll_back(self, reason: str, frame: int) -> None:
        self.events.append(Event(frame, "", reason, rolled_back=True))

    @property
    def has_ground_truth(self) -> bool:
        return bool(self.online.evaluation.points)

    def part(self, places: range) -> dict[str, Any]:
        """Mean IoU of a part of the drive, over the points that a camera sees."""
        if not self.has_ground_truth:
            return {}
        tracks = {"miou_source": self.source, "miou_online": self.online}
        return {name: track.miou(Branch.FUSED, places) for name, track in tracks.items()}

    def as_dict(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "promotions": sum(event.outcome == "promoted" for event in self.events),
            "rejections": sum(event.outcome == "refused" for event in self.events),
            "rollbacks": sum(event.outcome == "rolled back" for event in self.events),
            "consistency_source": _mean(self.source.agreement),
            "consistency_online": _mean(self.online.agreement),
        }
        if self.has_ground_truth:
            facts |= miou_figures({"miou_source": self.source.evaluation, "miou_online": self.online.evaluation})
        return facts


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
