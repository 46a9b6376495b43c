"""The sections of a report on adaptation: timeline, figures, pictures before and after, the gate's log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.evaluation.timeline import Timeline
from sam_adapt_ros.visualization.before_after import BeforeAfter, before_after_picture
from sam_adapt_ros.visualization.pictures import save_image
from sam_adapt_ros.visualization.report import Picture, Section, Table, sweep_caption
from sam_adapt_ros.visualization.timeline_plot import plot_timeline

DESCRIPTIONS = {
    "miou_source": "source model, on the drive",
    "miou_online": "published labels, on the drive",
    "miou_source_unseen": "source model, on the unseen drive",
    "miou_batchnorm_only": "source model with BatchNorm statistics of the drive, on the unseen drive",
    "miou_final": "weights in use at the end, on the unseen drive",
    "miou_oracle": "oracle, trained with true labels of the domain, on the unseen drive",
    "recovered": "(final - source) / (oracle - source), on the unseen drive",
}


def adaptation_sections(
    timeline: Timeline, facts: Mapping[str, Any], shown: Sequence[BeforeAfter], pictures: Path
) -> list[Section]:
    """facts: of the run: figures, those over all points under ``all_points``, and the gate's ``decisions``."""
    plot = Picture(
        plot_timeline(timeline, pictures / "adaptation.png"), "Along the drive, on the points that a camera sees"
    )
    sections = [
        Section(
            "Adaptation",
            text="Every frame was labelled before the adapter could learn from it.",
            tables=[*_figures(facts), _rounds(timeline, facts)],
            pictures=[plot],
        )
    ]
    if shown:
        sections.append(Section("Before and after", pictures=_before_after(shown, timeline, pictures)))
    log = [_gate_table(number, decision) for number, decision in enumerate(facts.get("decisions", ()), 1)]
    return [*sections, Section("Gate log", text="" if log else "No round ended.", tables=log)]


def _figures(facts: Mapping[str, Any]) -> list[Table]:
    all_points, by_branch = facts.get("all_points", {}), facts.get("by_branch", {})
    scalars = {name: value for name, value in facts.items() if isinstance(value, int | float) or value is None}
    quality = {name: value for name, value in scalars.items() if name.startswith("miou_") or name == "recovered"}
    tables = []
    if quality:
        rows = [
            (
                name,
                value,
                all_points.get(name),
                *(by_branch.get(name, {}).get(branch) for branch in NETWORK_BRANCHES),
                DESCRIPTIONS.get(name, ""),
            )
            for name, value in quality.items()
        ]
        header = ("mean IoU", "points that a camera sees", "all points", "2d alone", "3d alone", "description")
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
        outcome = f"{event.outcome}: {event.promoted}" if event.promoted else event.outcome
        rows.append((number, event.frame, outcome, labels.get("coverage"), labels.get("precision"), event.reason))
    header = ("round", "after frame", "gate", "coverage of the pseudo-labels", "their precision", "reason")
    return Table(header, rows or [("none", "", "", None, None, "")], "Rounds of self-training")


def _gate_table(number: int, decision: Mapping[str, Any]) -> Table:
    """The measurements of every candidate and baseline, without those by class and branch."""
    entries = [*decision.get("baselines", ()), *decision.get("candidates", ())]
    measured = dict.fromkeys(name for entry in entries for name in entry["numbers"] if "/" not in name)
    rows = [
        (
            entry["name"],
            *(entry["numbers"].get(name) for name in measured),
            "; ".join(entry["refusals"]) or ("promoted" if entry["name"] == decision["promoted"] else ""),
        )
        for entry in entries
    ]
    return Table(("weights", *measured, "outcome"), rows, f"Round {number}: {decision['reason']}")


def _before_after(shown: Sequence[BeforeAfter], timeline: Timeline, pictures: Path) -> list[Picture]:
    return [
        Picture(
            save_image(before_after_picture(each, timeline.taxonomy), pictures / f"before_after_{place:02d}.jpg"),
            sweep_caption(each.frame),
        )
        for place, each in enumerate(shown)
    ]
