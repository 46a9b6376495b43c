"""What a report says of learning: the drive's timeline, the figures, the gate's log, pictures before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.visualization.before_after import BeforeAfter, before_after_picture
from sam_adapt_ros.visualization.pictures import save_image
from sam_adapt_ros.visualization.report import Picture, Section, Table
from sam_adapt_ros.visualization.timeline import Timeline, plot_timeline

GATE_NUMBERS = (
    "score",
    "pseudo_label_agreement",
    "branch_agreement",
    "augmentation_agreement",
    "source_agreement",
    "entropy",
)
WHAT_IS_MEANT = {
    "miou_source": "as shipped, on the drive",
    "miou_online": "as published, frame by frame, on the drive",
    "miou_source_unseen": "as shipped, on the unseen drive",
    "miou_normalization_only": "normalization statistics re-estimated on the drive, on the unseen drive",
    "miou_final": "the last weights, on the unseen drive",
    "miou_oracle": "trained with the domain's true labels, on the unseen drive",
    "recovered": "(final - source) / (oracle - source), on the unseen drive",
}


def adaptation_sections(
    timeline: Timeline, facts: Mapping[str, Any], shown: Sequence[BeforeAfter], pictures: Path
) -> list[Section]:
    """facts: of the run: figures, those over all points under ``all_points``, and the gate's ``decisions``."""
    sections = [
        Section(
            "What was learned",
            text="Every frame was labelled before it could be learned from.",
            tables=[*_figures(facts), _rounds(timeline, facts)],
            pictures=[
                Picture(
                    plot_timeline(timeline, pictures / "adaptation.png"),
                    f"Over the drive: {timeline.measure}, on the points that a camera sees",
                )
            ],
        )
    ]
    if shown:
        sections.append(Section("Before and after", pictures=_before_after(shown, timeline, pictures)))
    decisions = facts.get("decisions", ())
    log = [_gate_table(number, decision) for number, decision in enumerate(decisions, 1)]
    return [*sections, Section("The gate's log", text="" if log else "No round ended.", tables=log)]


def _figures(facts: Mapping[str, Any]) -> list[Table]:
    all_points, by_branch = facts.get("all_points", {}), facts.get("by_branch", {})
    scalars = {name: value for name, value in facts.items() if isinstance(value, int | float) or value is None}
    quality = {name: value for name, value in scalars.items() if name.startswith("miou_") or name == "recovered"}
    tables = []
    if quality:
        rows = [
            (
                name,
                quality[name],
                all_points.get(name),
                *(by_branch.get(name, {}).get(branch) for branch in NETWORK_BRANCHES),
                WHAT_IS_MEANT.get(name, ""),
            )
            for name in quality
        ]
        header = ("mean IoU", "points that a camera sees", "all points", "2d alone", "3d alone", "")
        tables.append(Table(header, rows))
    rest = [name for name in scalars if name not in quality]
    return [*tables, Table(rest, [[scalars[name] for name in rest]])]


def _rounds(timeline: Timeline, facts: Mapping[str, Any]) -> Table:
    rows: list[tuple] = []
    decisions: Iterator[Mapping[str, Any]] = iter(facts.get("decisions", ()))
    number = 0
    for event in timeline.events:
        if event.outcome == "rolled back":
            rows.append(("", event.frame, event.outcome, None, None, event.reason))
            continue
        number += 1
        labels = next(decisions, {}).get("labels") or {}
        coverage, precision = labels.get("coverage"), labels.get("precision")
        outcome = f"{event.outcome}: {event.promoted}" if event.promoted else event.outcome
        rows.append((number, event.frame, outcome, coverage, precision, event.reason))
    header = ("round", "after frame", "gate", "points with a pseudo-label", "of them right", "why")
    return Table(header, rows or [("none", "", "", None, None, "")], "Rounds of learning")


def _gate_table(number: int, decision: Mapping[str, Any]) -> Table:
    rows = [
        (
            entry["name"],
            *(entry["numbers"].get(key) for key in GATE_NUMBERS),
            "; ".join(entry["refusals"]) or ("promoted" if entry["name"] == decision["promoted"] else ""),
        )
        for entry in (*decision.get("baselines", ()), *decision.get("candidates", ()))
    ]
    return Table(("weights", *GATE_NUMBERS, "refused because"), rows, f"Round {number}: {decision['reason']}")


def _before_after(shown: Sequence[BeforeAfter], timeline: Timeline, pictures: Path) -> list[Picture]:
    found = []
    for place, each in enumerate(shown):
        path = pictures / f"before_after_{place:02d}.jpg"
        save_image(before_after_picture(each, timeline.taxonomy), path)
        found.append(Picture(path, f"Sweep at {each.frame.stamp_ns / 1e9:.3f} s"))
    return found
