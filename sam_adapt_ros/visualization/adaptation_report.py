"""The sections of a report on adaptation: timeline, figures, pictures before and after, the gate's log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
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
    "recovered": "recovered: (weights at the end - source) / (oracle - source), on the unseen drive",
}
"""Figures in words, by their keys in ``summary.json``."""
COUNTS = {
    "promotions": "rounds that put new weights to use",
    "rejections": "rounds that changed nothing",
    "rollbacks": "times that weights were rolled back",
    "consistency_source": "agreement of both branches, source model",
    "consistency_online": "agreement of both branches, published labels",
    "passes": "times that the bags were driven through",
    "seconds_learning": "seconds spent learning",
    "frames_dropped_by_swaps": "sweeps lost while weights were exchanged",
    "swap_ms": "longest exchange of weights, ms",
}


def conclusion(facts: Mapping[str, Any]) -> str:
    """What came of adapting, in a sentence; where nothing was promoted, why. facts: as for ``adaptation_sections``;
    ``no_round`` says why no round ended."""
    decisions, rollbacks = facts.get("decisions", ()), facts.get("rollbacks", 0)
    promoted = [decision["promoted"] for decision in decisions if decision["promoted"]]
    if not decisions:
        why = facts.get("no_round") or "no round ended"
        return f"Nothing was learned, the source model labelled every frame: {why}."
    rounds = f"{len(decisions)} round{'s' if len(decisions) > 1 else ''}"
    if not promoted:
        return f"Nothing was promoted in {rounds}, the source model stayed in use: {_why(decisions[-1])}."
    names = f"{len(promoted)} of {rounds} put new weights to use ({', '.join(promoted)})"
    if rollbacks:
        names += f", {rollbacks} of them {'was' if rollbacks == 1 else 'were'} rolled back"
    for before, after, where in (
        ("miou_source_unseen", "miou_final", "on the unseen drive"),
        ("miou_source", "miou_online", "over the whole drive"),
    ):
        if facts.get(before) is not None and facts.get(after) is not None:
            change = (
                f"mean IoU where a camera sees: {facts[before]:.3f} by the source model, {facts[after]:.3f} adapted"
            )
            return f"{names}; {change}, {where}."
    return f"{names}."


def _why(decision: Mapping[str, Any]) -> str:
    """Why a round promoted nothing: what the best of its candidates lacked."""
    candidates = decision.get("candidates", ())
    if not candidates:
        return str(decision["reason"])
    best = max(candidates, key=lambda each: each["score"])
    refusal = best["refusals"][0] if best["refusals"] else decision["reason"]
    return f"of the last round's {len(candidates)} candidates the best, {best['name']}, was refused since {refusal}"


def adaptation_sections(
    timeline: Timeline, facts: Mapping[str, Any], shown: Sequence[BeforeAfter], pictures: Path
) -> list[Section]:
    """facts: of the run: figures, those over all points under ``all_points``, and the gate's ``decisions``."""
    plot = Picture(
        plot_timeline(timeline, pictures / "adaptation.png"),
        "Along the drive, on the points that a camera sees; the numbers above are rounds",
    )
    sections = [
        Section(
            "Adaptation",
            text=f"{conclusion(facts)} Every frame was labelled before the adapter could learn from it.",
            tables=[*_figures(facts), _rounds(timeline, facts)],
            pictures=[plot],
        )
    ]
    if shown:
        same = all(np.array_equal(each.before[Branch.FUSED], each.after[Branch.FUSED]) for each in shown)
        text = "The weights in use at the end label these frames as the source model does." if same else ""
        sections.append(Section("Before and after", text, pictures=_before_after(shown, timeline, pictures)))
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
                DESCRIPTIONS.get(name, name),
                value,
                all_points.get(name),
                *(by_branch.get(name, {}).get(branch) for branch in NETWORK_BRANCHES),
            )
            for name, value in quality.items()
        ]
        header = ("mean IoU", "points that a camera sees", "all points", "2d alone", "3d alone")
        tables.append(Table(header, rows))
    rest = [(COUNTS.get(name, name.replace("_", " ")), value) for name, value in scalars.items() if name not in quality]
    return [*tables, Table(("on the way", ""), rest)]


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
    header = ("weights", *(name.replace("_", " ") for name in measured), "outcome")
    return Table(header, rows, f"Round {number}: {decision['reason']}")


def _before_after(shown: Sequence[BeforeAfter], timeline: Timeline, pictures: Path) -> list[Picture]:
    return [
        Picture(
            save_image(before_after_picture(each, timeline.taxonomy), pictures / f"before_after_{place:02d}.jpg"),
            f"{each.why}. {sweep_caption(each.frame)}" if each.why else sweep_caption(each.frame),
        )
        for place, each in enumerate(shown)
    ]
