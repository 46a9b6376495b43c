"""How learning went over a drive: quality frame by frame, beside that of the model as shipped, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch, BranchLabels
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, Evaluation
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization import plots

WINDOW = 10
"""Frames that a mean IoU over the drive is taken over: one frame alone lacks classes."""


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


class Timeline:
    """Quality of the weights in use and of the source's, frame by frame, and what was decided on the way."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.events: list[Event] = []
        self.online, self.source = Evaluation(taxonomy), Evaluation(taxonomy)
        self.consistency: dict[str, list[float]] = {"in use": [], "source": []}
        self._frames: dict[tuple[str, Branch], list[Confusion]] = {}

    def __len__(self) -> int:
        """Frames so far."""
        return len(self.consistency["in use"])

    def add(self, frame: Frame, online: BranchLabels, source: BranchLabels) -> None:
        """One frame's (N,) class ids by branch, by the weights in use and by the source's."""
        for name, labels, total in (("in use", online, self.online), ("source", source, self.source)):
            seen = labels[Branch.IMAGE] != IGNORE
            same = labels[Branch.IMAGE][seen] == labels[Branch.POINTS][seen]
            self.consistency[name].append(float(same.mean()) if len(same) else float("nan"))
            if frame.ground_truth is not None:
                total.add_labels(frame.ground_truth, labels)
            for branch in (Branch.FUSED, Branch.IMAGE):
                confusion = Confusion(len(self.taxonomy))
                if frame.ground_truth is not None:
                    confusion.add(frame.ground_truth[seen], labels[branch][seen])
                self._frames.setdefault((name, branch), []).append(confusion)

    def decide(self, promoted: str, reason: str, frame: int | None = None) -> None:
        """The gate's decision. frame: how many frames had been labelled by then; None: all so far."""
        self.events.append(Event(len(self) if frame is None else frame, promoted, reason))

    def roll_back(self, reason: str, frame: int) -> None:
        self.events.append(Event(frame, "", reason, rolled_back=True))

    @property
    def has_ground_truth(self) -> bool:
        return bool(self.online.frames)

    @property
    def measure(self) -> str:
        """What ``curve`` gives, in words."""
        return f"mean IoU over {WINDOW} frames" if self.has_ground_truth else "agreement of 2d and 3d"

    def curve(self, name: str, branch: Branch = Branch.FUSED) -> list[float]:
        """By frame, of ``in use`` or ``source``, fused or the image branch alone: mean IoU over the last frames, of the
        points that a camera sees; without ground truth, consistency."""
        if not self.has_ground_truth:
            return self.consistency[name]
        values = []
        confusions = self._frames[name, branch]
        for last in range(1, len(confusions) + 1):
            window = Confusion(len(self.taxonomy))
            for confusion in confusions[max(0, last - WINDOW) : last]:
                window += confusion
            values.append(window.miou())
        return values

    def as_dict(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "promotions": sum(event.outcome == "promoted" for event in self.events),
            "rejections": sum(event.outcome == "refused" for event in self.events),
            "rollbacks": sum(event.outcome == "rolled back" for event in self.events),
            "consistency_source": _mean(self.consistency["source"]),
            "consistency_online": _mean(self.consistency["in use"]),
        }
        if self.has_ground_truth:
            evaluations = {"miou_source": self.source, "miou_online": self.online}
            facts |= {name: evaluation.miou(FUSED_SEEN) for name, evaluation in evaluations.items()}
            facts["all_points"] = {name: evaluation.miou() for name, evaluation in evaluations.items()}
            facts["by_branch"] = {
                name: {branch: evaluation.miou(branch) for branch in NETWORK_BRANCHES}
                for name, evaluation in evaluations.items()
            }
        return facts


def plot_timeline(timeline: Timeline, path: Path) -> Path:
    """The curves of the source and of the weights in use, and every event; below, those of the image branch alone."""
    branches = {Branch.FUSED: timeline.measure}
    if timeline.has_ground_truth:
        branches[Branch.IMAGE] = "image branch alone"
    figure = Figure(figsize=(10, 1.2 + 2.8 * len(branches)))
    rows = figure.subplots(len(branches), sharex=True, squeeze=False)[:, 0]
    for axes, (branch, label) in zip(rows, branches.items(), strict=True):
        _plot_curves(axes, timeline, branch)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    rows[-1].set_xlim(0.5, max(len(timeline), *(event.frame for event in timeline.events), 1) + 1.5)
    rows[-1].set_xlabel("frame of the drive")
    rows[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=5, frameon=False)
    return plots.save(figure, path)


def _plot_curves(axes: Axes, timeline: Timeline, branch: Branch) -> None:
    source, in_use = np.array(timeline.curve("source", branch)), np.array(timeline.curve("in use", branch))
    frames = np.arange(1, len(timeline) + 1)
    axes.plot(frames, source, "--", color="tab:gray", label="as shipped", linewidth=1.6)
    axes.plot(frames, in_use, color="tab:blue", label="as published", linewidth=1.8)
    for where, color in ((in_use >= source, "tab:green"), (in_use < source, "tab:red")):
        axes.fill_between(frames, source, in_use, where=where, color=color, alpha=0.15, linewidth=0)
    known: set[str] = set()
    for event in timeline.events:
        color, style = _STYLES[event.outcome]
        label = None if event.outcome in known else event.outcome
        axes.axvline(event.frame + 0.5, color=color, linestyle=style, label=label)
        known.add(event.outcome)
        if event.promoted:
            place, offset = (event.frame + 0.5, 0.02), (3, 2)
            axes.annotate(
                event.promoted,
                place,
                offset,
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                va="bottom",
                fontsize=8,
                color=color,
            )


_STYLES = {"promoted": ("tab:green", "-"), "refused": ("tab:red", ":"), "rolled back": ("tab:orange", "-.")}
"""Colour and line of an event."""


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
