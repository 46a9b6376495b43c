"""A benchmark's results for people: tables, as Markdown and on the console, and plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sam_adapt_ros.pipelines.benchmark.results import HEADS
from sam_adapt_ros.visualization.plots import save

PUBLISHED = "published: "
"""In front of the name of every figure that was not measured here."""


class TextTable(NamedTuple):
    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(results: Mapping[str, Any]) -> list[TextTable]:
    """Mean IoU by stage beside the published figures, IoU by class, what the pseudo-labels are worth, the ablation."""
    found = [_miou(results), *(_by_class(results, head) for head in HEADS.values())]
    if results["pseudo_labels"]:
        found += [_pseudo_labels(results), _labels_by_class(results)]
    return [table for table in found if table.rows]


def _miou(results: Mapping[str, Any]) -> TextTable:
    by = f" (published: {results['published_by']})" if results["published_by"] else ""
    rows = []
    for model in results["models"]:
        miou = model.get("miou", {})
        frames = str(model.get("frames", "not measured"))
        rows.append((model["name"], *(_percent(miou.get(head)) for head in HEADS.values()), frames))
        rows += [
            (PUBLISHED + each["name"], *("–" if v is None else f"{v:.1f}" for v in each["miou"]), "")
            for each in results["published"]
            if each["stage"] == model["stage"]
        ]
    return TextTable(
        f"{results['title']}, {results['setting']}: mean IoU, %{by}", ("", *HEADS.values(), "frames"), rows
    )


def _by_class(results: Mapping[str, Any], head: str) -> TextTable:
    classes = results["classes"]
    rows = [
        (model["name"], *(_percent(model["iou"][head][name]) for name in classes), _percent(model["miou"][head]))
        for model in results["models"]
        if head in model.get("iou", {})
    ]
    return TextTable(f"IoU by class, {head}, %", ("", *classes, "mean"), rows)


def _pseudo_labels(results: Mapping[str, Any]) -> TextTable:
    header = ("", *(f"{HEADS[branch]} {what}" for branch in HEADS for what in ("coverage", "precision")))
    rows = [
        (
            each["name"],
            *(_percent(each["selections"][b.value][what]) for b in HEADS for what in ("coverage", "precision")),
        )
        for each in results["pseudo_labels"]
    ]
    return TextTable("Pseudo-labels of the target's training frames, of the points that a camera sees, %", header, rows)


def _labels_by_class(results: Mapping[str, Any]) -> TextTable:
    """Of the fused predictions' labels: coverage / precision."""
    rows = []
    for each in results["pseudo_labels"]:
        of_class = each["selections"]["fused"]["classes"]
        shares = (of_class[name] for name in results["classes"])
        rows.append((each["name"], *(f"{_percent(v['coverage'])} / {_percent(v['precision'])}" for v in shares)))
    return TextTable(
        "Pseudo-labels of the fused predictions by class, coverage / precision, %", ("", *results["classes"]), rows
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def markdown(results: Mapping[str, Any]) -> str:
    """All tables, and what has to be known of them."""
    parts = [f"# {results['title']}, {results['setting']}"]
    parts += [f"**{table.title}**\n\n{_markdown_table(table)}" for table in tables(results)]
    if results["published"]:
        parts.append(
            "Rows that begin with *published:* were not measured here. They are of the whole data sets and of "
            f"{results['published_by']}."
        )
    if results["notices"]:
        parts.append("\n".join(f"* {notice}" for notice in results["notices"]))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: TextTable) -> str:
    lines = [table.header, ("---", *("--:" for _ in table.header[1:])), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


# Plots ---------------------------------------------------------------------------------------------------------------


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """``miou.png``, and ``pseudo_labels.png`` where there are some. Raises OSError."""
    found = [_draw_miou(results, folder / "miou.png")]
    if results["pseudo_labels"]:
        found.append(_draw_labels(results["pseudo_labels"], folder / "pseudo_labels.png"))
    return found


def _draw_miou(results: Mapping[str, Any], path: Path) -> Path:
    models = [model for model in results["models"] if model.get("miou")]
    figure = Figure(figsize=(9, 3.6))
    axes = figure.subplots()
    for place, (head, offset) in enumerate(zip(HEADS.values(), (-0.27, 0, 0.27), strict=True)):
        heights = [100 * model["miou"].get(head, np.nan) for model in models]
        axes.bar(np.arange(len(models)) + offset, heights, 0.25, label=head)
        marks = list(_published(results["published"], models, place, offset))
        label = "published" if place == 0 else None
        axes.plot([x for x, _ in marks], [y for _, y in marks], "k_", markersize=14, label=label)
    axes.set_xticks(range(len(models)), [model["name"] for model in models], rotation=20, ha="right")
    axes.set_ylabel("mean IoU, %")
    axes.set_ylim(0, 100)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return save(figure, path)


def _published(
    rows: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]], head: int, offset: float
) -> Iterator[tuple[float, float]]:
    for place, model in enumerate(models):
        for row in rows:
            if row["stage"] == model["stage"] and row["miou"][head] is not None:
                yield place + offset, row["miou"][head]


def _draw_labels(labels: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Precision over coverage: what masks gain and what they cost."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for branch, head in HEADS.items():
        values = [each["selections"][branch.value] for each in labels]
        x, y = ([np.nan if v[what] is None else 100 * v[what] for v in values] for what in ("coverage", "precision"))
        axes.plot(x, y, "o", label=head)
    for each in labels:
        value = each["selections"]["fused"]
        if value["coverage"] is not None and value["precision"] is not None:
            at = (100 * value["coverage"], 100 * value["precision"])
            axes.annotate(each["name"], at, xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set_xlabel("coverage, %")
    axes.set_ylabel("precision, %")
    axes.grid(alpha=0.3)
    axes.legend()
    return save(figure, path)
