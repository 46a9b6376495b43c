"""The report of a run of the pseudo-labels: ``summary.json``, pictures and ``report.html`` in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_adapt_ros.evaluation.pseudo_label_summary import SCOPES, PseudoLabelSummary
from sam_adapt_ros.visualization.pictures import save_image
from sam_adapt_ros.visualization.pseudo_label_pictures import PseudoLabelSample, pseudo_label_picture
from sam_adapt_ros.visualization.report import Picture, Report, Section, Table
from sam_adapt_ros.visualization.run_report import flow_section, timing_section

STAGES = {"selected": "selection", "direct": "+ MLA, direct propagation", "labels": "+ MLA, as configured"}
_SCOPES = {"seen": "points that a camera sees", "all": "all points"}
_MEASURES = ("coverage", "precision", "recall")


def write_pseudo_label_report(
    summary: PseudoLabelSummary, samples: Sequence[PseudoLabelSample], output: Path, title: str
) -> Path:
    """Writes everything into ``output`` and returns the path of ``report.html``."""
    pictures = output / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    summary.write(output / "summary.json")
    facts = summary.as_dict()
    report = Report(title, subtitle=" · ".join(f"{name}: {value}" for name, value in summary.facts.items()))
    report.sections.append(flow_section(facts))
    report.sections.append(_stages(summary, facts))
    report.sections.append(_frames(summary, samples, pictures))
    if summary.latencies:
        report.sections.append(timing_section(summary, pictures))
    report.write(output / "report.html")
    return output / "report.html"


def stage_rows(facts: dict[str, Any], scope: str) -> list[tuple[str, ...]]:
    """Coverage, precision and recall by stage, percent, of a summary as a dictionary."""
    return [
        (STAGES[stage], *(_percent(scopes[scope][measure]) for measure in _MEASURES))
        for stage, scopes in facts["stages"].items()
    ]


def _stages(summary: PseudoLabelSummary, facts: dict[str, Any]) -> Section:
    tables = [
        Table(("", *_MEASURES), stage_rows(facts, scope), f"Of the {_SCOPES[scope]}, percent") for scope in SCOPES
    ]
    if summary.has_ground_truth:
        tables += [_by_class(summary, facts, measure) for measure in _MEASURES]
    fates = [(fate, facts["masks"].get(fate, 0)) for fate in ("labelled", "size", "purity", "representativity")]
    tables.append(Table(("masks", "count"), fates, "Masks that got a class, and the constraint that the others failed"))
    out = facts["kept_out"]
    text = ""
    if out.get("points"):
        text = f"Propagation as configured kept out {out['points']} points that direct propagation labels"
        if out.get("known"):
            text += f"; of {out['known']} whose truth is known, {out['wrong']} would have been labelled wrongly"
        text += "."
    return Section("How dense and how right", text=text, tables=tables)


def _by_class(summary: PseudoLabelSummary, facts: dict[str, Any], measure: str) -> Table:
    names = summary.taxonomy.classes
    rows = [
        (STAGES[stage], *(_percent(scopes["seen"]["classes"][name][measure]) for name in names))
        for stage, scopes in facts["stages"].items()
    ]
    return Table(("", *names), rows, f"{measure.capitalize()} by class, of the {_SCOPES['seen']}, percent")


def _frames(summary: PseudoLabelSummary, samples: Sequence[PseudoLabelSample], pictures: Path) -> Section:
    shown = []
    for place, sample in enumerate(samples):
        picture = pseudo_label_picture(sample, summary.taxonomy)
        path = save_image(picture, pictures / f"frame_{place:02d}.jpg")
        shown.append(Picture(path, f"Sweep at {sample.frame.stamp_ns / 1e9:.3f} s"))
    text = (
        "Masks: every point in a colour of the smallest mask it is on, every mask outlined in the class it was given "
        "(grey: none). Then the points that are labelled after each stage, and those that direct propagation labels "
        "and the configured one does not."
    )
    return Section("What it looks like", text=text, pictures=shown)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
