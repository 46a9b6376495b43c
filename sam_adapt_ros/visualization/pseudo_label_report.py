"""The report of a run of the pseudo-labels: ``summary.json``, pictures and ``report.html`` in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_adapt_ros.evaluation.label_statistics import MEASURES
from sam_adapt_ros.evaluation.pseudo_label_summary import PseudoLabelSummary
from sam_adapt_ros.visualization.pictures import save_image
from sam_adapt_ros.visualization.pseudo_label_pictures import PseudoLabelFrame, pseudo_label_picture
from sam_adapt_ros.visualization.report import Picture, Section, Table, sweep_caption
from sam_adapt_ros.visualization.run_report import write_report

STAGES = {"selected": "selection", "direct": "+ MLA, direct propagation", "labels": "+ MLA, as configured"}
_SCOPES = {"seen": "points that a camera sees", "all": "all points"}


def write_pseudo_label_report(
    summary: PseudoLabelSummary, shown: Sequence[PseudoLabelFrame], output: Path, title: str
) -> None:
    write_report(summary, output, title, [_stages(summary), _frames(summary, shown, output / "pictures")])


def stage_rows(facts: dict[str, Any], scope: str) -> list[tuple[str, ...]]:
    """Coverage, precision and recall by stage, percent, of a summary as a dictionary."""
    return [
        (STAGES[stage], *(_percent(scopes[scope][measure]) for measure in MEASURES))
        for stage, scopes in facts["stages"].items()
    ]


def _stages(summary: PseudoLabelSummary) -> Section:
    facts = summary.as_dict()
    tables = [
        Table(("", *MEASURES), stage_rows(facts, scope), f"Of {of_points}, percent")
        for scope, of_points in _SCOPES.items()
    ]
    if summary.has_ground_truth:
        tables += [_by_class(summary, facts, measure) for measure in MEASURES]
    outcomes = [(name, facts["masks"].get(name, 0)) for name in ("labelled", "size", "purity", "representativity")]
    tables.append(Table(("masks", "count"), outcomes, "Masks that got a class, and the constraint that others failed"))
    return Section("Coverage, precision and recall", text=_kept_out(facts["kept_out"]), tables=tables)


def _kept_out(counts: dict[str, int]) -> str:
    if not counts.get("points"):
        return ""
    text = f"Propagation as configured leaves {counts['points']} points unlabelled that direct propagation labels"
    if counts.get("known"):
        text += f"; of {counts['known']} with ground truth, {counts['wrong']} would have got a wrong label"
    return f"{text}."


def _by_class(summary: PseudoLabelSummary, facts: dict[str, Any], measure: str) -> Table:
    names = summary.taxonomy.classes
    rows = [
        (STAGES[stage], *(_percent(scopes["seen"]["classes"][name][measure]) for name in names))
        for stage, scopes in facts["stages"].items()
    ]
    return Table(("", *names), rows, f"{measure.capitalize()} by class, of the {_SCOPES['seen']}, percent")


def _frames(summary: PseudoLabelSummary, shown: Sequence[PseudoLabelFrame], pictures: Path) -> Section:
    text = (
        "Masks: every point in a colour of the smallest mask it is on, every mask outlined in the class it was given "
        "(grey: none). Then the points that are labelled after each stage, and those that direct propagation labels "
        "and the configured one does not."
    )
    found = [
        Picture(
            save_image(pseudo_label_picture(each, summary.taxonomy), pictures / f"frame_{place:02d}.jpg"),
            sweep_caption(each.frame),
        )
        for place, each in enumerate(shown)
    ]
    return Section("Frames", text=text, pictures=found)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
