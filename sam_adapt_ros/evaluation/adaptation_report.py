"""How learning went over a drive: quality frame by frame, beside that of the model as shipped, and every decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sam_adapt_ros.evaluation import plots
from sam_adapt_ros.evaluation.evaluate import Evaluation
from sam_adapt_ros.evaluation.pictures import camera_overlay, label_view, mosaic, save_image
from sam_adapt_ros.evaluation.report import Picture, Section, Table
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.segmentation.confusion import Confusion
from sam_adapt_ros.taxonomy import Taxonomy

WINDOW = 10
"""Frames that a mean IoU over the drive is taken over: one frame alone lacks classes."""

Labels = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Event:
    """A decision of the gate after ``frame`` frames. promoted: "" when it was refused."""

    frame: int
    promoted: str
    reason: str


class Timeline:
    """Quality of the weights in use and of the source's, frame by frame, and the gate's decisions."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.events: list[Event] = []
        self.online, self.source = Evaluation(taxonomy), Evaluation(taxonomy)
        self.consistency: dict[str, list[float]] = {"in use": [], "source": []}
        self._frames: dict[str, list[Confusion]] = {"in use": [], "source": []}

    def add(self, frame: Frame, online: Labels, source: Labels) -> None:
        """One frame's (N,) class ids by branch, by the weights in use and by the source's."""
        for name, labels, total in (("in use", online, self.online), ("source", source, self.source)):
            seen = labels["2d"] != IGNORE
            same = labels["2d"][seen] == labels["3d"][seen]
            self.consistency[name].append(float(same.mean()) if len(same) else float("nan"))
            confusion = Confusion(self.taxonomy.classes)
            if frame.ground_truth is not None:
                total.add_labels(frame.ground_truth, labels)
                confusion.add(frame.ground_truth[seen], labels["fused"][seen])
            self._frames[name].append(confusion)

    def decide(self, promoted: str, reason: str) -> None:
        self.events.append(Event(len(self.consistency["in use"]), promoted, reason))

    @property
    def has_ground_truth(self) -> bool:
        return bool(self.online.frames)

    def curve(self, name: str) -> list[float]:
        """By frame, of ``in use`` or ``source``: mean IoU over the last frames, or consistency without ground truth."""
        if not self.has_ground_truth:
            return self.consistency[name]
        values = []
        for last in range(1, len(self._frames[name]) + 1):
            window = Confusion(self.taxonomy.classes)
            for confusion in self._frames[name][max(0, last - WINDOW) : last]:
                window += confusion
            values.append(window.miou())
        return values

    def as_dict(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "promotions": sum(bool(event.promoted) for event in self.events),
            "rejections": sum(not event.promoted for event in self.events),
            "consistency_source": _mean(self.consistency["source"]),
            "consistency_online": _mean(self.consistency["in use"]),
        }
        if self.has_ground_truth:
            for name, evaluation in (("source", self.source), ("online", self.online)):
                facts[f"miou_{name}"] = evaluation.miou("fused_seen")
                facts[f"miou_{name}_all_points"] = evaluation.miou("fused")
        return facts


def adaptation_sections(
    timeline: Timeline,
    facts: Mapping[str, Any],
    shown: Sequence[tuple[Frame, NDArray[np.uint8], NDArray[np.uint8]]],
    pictures: Path,
) -> list[Section]:
    """facts: of the run, with the gate's ``decisions``. shown: frames with labels (N,) before and after."""
    what = "mean IoU over the last 10 frames" if timeline.has_ground_truth else "agreement of 2d and 3d"
    drive = Picture(_plot(timeline, what, pictures / "adaptation.png"), f"Over the drive: {what}")
    names = [name for name in facts if isinstance(facts[name], int | float)]
    rounds = [
        (place, event.frame, event.promoted or "refused", event.reason)
        for place, event in enumerate(timeline.events, 1)
    ]
    sections = [
        Section(
            "What was learned",
            text="Every frame was labelled before it could be learned from. Mean IoU is over the points that a camera "
            "sees. Green lines: weights promoted; red: candidates refused.",
            tables=[
                Table(names, [[facts[name] for name in names]]),
                Table(("round", "after frame", "gate", "why"), rounds or [("none", "", "", "")]),
                Table(("round", "pseudo-labels on", "right"), _label_rows(facts)),
            ],
            pictures=[drive],
        ),
        Section("The gate's log", tables=[_gate_table(decision) for decision in facts.get("decisions", ())]),
    ]
    if shown:
        sections.append(Section("Before and after", pictures=_before_after(shown, timeline.taxonomy, pictures)))
    return sections


def _gate_table(decision: Mapping[str, Any]) -> Table:
    keys = ("score", "labels", "labels_seen", "modalities", "augmented", "anchor", "entropy")
    rows = [
        (
            entry["name"],
            *(entry["numbers"].get(key) for key in keys),
            "; ".join(entry["refused"]) or ("promoted" if entry["name"] == decision["promoted"] else ""),
        )
        for entry in (*decision["baselines"], *decision["candidates"])
    ]
    return Table(("weights", *keys, "refused because"), rows, decision["reason"])


def _label_rows(facts: Mapping[str, Any]) -> list[tuple]:
    rows: list[tuple] = [
        (place, labels.get("coverage"), labels.get("precision"))
        for place, decision in enumerate(facts.get("decisions", ()), 1)
        if (labels := decision.get("labels"))
    ]
    return rows or [("none", None, None)]


def _before_after(
    shown: Sequence[tuple[Frame, NDArray[np.uint8], NDArray[np.uint8]]], taxonomy: Taxonomy, pictures: Path
) -> list[Picture]:
    found = []
    for place, (frame, before, after) in enumerate(shown):
        draw = [
            camera_overlay(frame, frame.views[0], labels, taxonomy)
            if frame.views
            else label_view(frame, labels, taxonomy)
            for labels in (before, after)
        ]
        path = save_image(mosaic(draw, 2, 1280), pictures / f"before_after_{place:02d}.jpg")
        found.append(Picture(path, f"Sweep at {frame.stamp_ns / 1e9:.3f} s: as shipped, and by the last weights"))
    return found


def _plot(timeline: Timeline, label: str, path: Path) -> Path:
    figure = Figure(figsize=(9, 3.6))
    axes = figure.subplots()
    for name, style in (("source", "--"), ("in use", "-")):
        axes.plot(timeline.curve(name), style, label=name)
    for event in timeline.events:
        axes.axvline(event.frame - 0.5, color="tab:green" if event.promoted else "tab:red", alpha=0.7)
    axes.set_xlabel("frame")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend()
    return plots.save(figure, path)


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
