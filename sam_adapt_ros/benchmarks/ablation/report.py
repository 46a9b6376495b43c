"""The ablation as a table, plots and one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sam_adapt_ros.benchmarks.ablation.run import Ablation, Result
from sam_adapt_ros.evaluation.intervals import Estimate
from sam_adapt_ros.evaluation.label_statistics import MEASURES
from sam_adapt_ros.io.outputs import prepare_folder
from sam_adapt_ros.visualization.plots import save
from sam_adapt_ros.visualization.report import Picture, Report, Section, Table

HEADER = ("", "coverage", "x selection", "precision", "+- points", "recall", "precision, parallax only")
_MARKERS = "oDs^vP*Xd<>ph"


def prepare_report(output: Path, *, force: bool) -> None:
    """Tries, before the work begins, whether the report can be written. Raises OutputError.

    force: an earlier report is replaced.
    """
    prepare_folder(output, ("ablation.json", "ablation.csv", "report.html"), ("pictures",), force=force)


def write_report(ablation: Ablation, output: Path) -> Path:
    """Writes ``ablation.json``, ``ablation.csv``, ``pictures`` and ``report.html``, whose path is returned."""
    pictures = output / "pictures"
    ablation.write(output)
    facts = ablation.facts
    report = Report(
        "Ablation of the pseudo-labels",
        subtitle=f"{facts.get('frames')} frames · weights: {facts.get('weights')} · masks: {facts.get('masks')}",
    )
    for group, results in ablation.groups.items():
        report.sections.append(_group(ablation, group, results, pictures))
    report.write(output / "report.html")
    return output / "report.html"


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Rows for ``HEADER``, in percent, of the variants that belong to no sweep."""
    return [
        (
            result.variant.name,
            percent(result.estimates["coverage"]),
            _times(result.estimates["coverage_gain"]),
            percent(result.estimates["precision"]),
            percent(result.estimates["precision_change"], sign=True),
            percent(result.estimates["recall"]),
            percent(result.estimates["parallax_precision"]),
        )
        for result in results
        if not result.variant.swept
    ]


def percent(estimate: Estimate, sign: bool = False) -> str:
    """``93.1 ± 0.4``"""
    if math.isnan(estimate.value):
        return "–"
    value = f"{100 * estimate.value:{'+' if sign else ''}.1f}"
    return value if math.isnan(estimate.half_width) else f"{value} ± {100 * estimate.half_width:.1f}"


def _times(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    half = "" if math.isnan(estimate.half_width) else f" ± {estimate.half_width:.2f}"
    return f"{estimate.value:.2f}{half}"


def _group(ablation: Ablation, group: str, results: list[Result], pictures: Path) -> Section:
    drives = len(results[0].drives)
    interval = "Student's t over the drives" if drives > 1 else "bootstrap over the frames of the one drive"
    share = results[0].parallax_share
    tables = [Table(HEADER, table(results), "Percent; ± is half of the interval of 95 % confidence")]
    tables += [_classes(ablation, results, measure) for measure in MEASURES] if _has_truth(results) else []
    swept = [result for result in results if result.variant.swept]
    if swept:
        tables.append(_sweeps(swept))
    slug = "".join(letter if letter.isalnum() else "_" for letter in group)
    shown = [Picture(plot_curve(results, pictures / f"{slug}_curve.png"), "Precision against coverage")]
    if not _has_truth(results):
        shown = []
    elif ablation.classes:
        picture = plot_classes(results[:3], ablation.classes, pictures / f"{slug}_classes.png")
        shown.append(Picture(picture, "Coverage, precision and recall by class"))
    if swept:
        shown.append(Picture(plot_sweeps(swept, pictures / f"{slug}_sweeps.png"), "Every threshold by itself"))
    parallax = "" if math.isnan(share) else f" {100 * share:.1f} % of them fall on a mask by parallax only."
    text = f"Over the points that a camera sees, {drives} drive(s); intervals: {interval}.{parallax}"
    return Section(group, text=text, tables=tables, pictures=shown)


def _has_truth(results: Sequence[Result]) -> bool:
    return not math.isnan(results[0].estimates["precision"].value)


def _classes(ablation: Ablation, results: Sequence[Result], measure: str) -> Table:
    chosen = [result for result in results if not result.variant.swept]
    rows = []
    for result in chosen:
        values = [result.by_class(place)[measure].value for place in range(len(ablation.classes))]
        rows.append((result.variant.name, *("–" if math.isnan(value) else f"{100 * value:.1f}" for value in values)))
    return Table(("", *ablation.classes), rows, f"{measure.capitalize()} by class, percent")


def _sweeps(swept: Sequence[Result]) -> Table:
    rows = [
        (
            result.variant.name,
            f"{result.variant.value:g}",
            *(percent(result.estimates[name]) for name in ("coverage", "precision", "recall", "parallax_precision")),
        )
        for result in swept
    ]
    return Table(("threshold", "value", *MEASURES, "precision, parallax only"), rows, "Sweeps, percent")


def plot_curve(results: Sequence[Result], path: Path) -> Path:
    """Every variant as a point, every sweep as a line, in the plane of coverage and precision."""
    figure = Figure(figsize=(9.5, 6))
    axes = figure.subplots()
    for name, line in _lines(results).items():
        x, y = _xy(line)
        dashed = "--" if name.endswith("alone") else "-"
        axes.plot(x, y, dashed, marker=".", linewidth=1, alpha=0.6, label=name)
    for place, result in enumerate(result for result in results if not result.variant.swept):
        coverage, precision = (result.estimates[name] for name in ("coverage", "precision"))
        axes.errorbar(
            100 * coverage.value,
            100 * precision.value,
            xerr=None if math.isnan(coverage.half_width) else 100 * coverage.half_width,
            yerr=None if math.isnan(precision.half_width) else 100 * precision.half_width,
            fmt=_MARKERS[place % len(_MARKERS)],
            color="black" if place < 3 else f"C{place % 10}",
            markersize=9 if place < 3 else 6,
            elinewidth=0.6,
            label=result.variant.name,
        )
    axes.set_xlabel("coverage, % of the points that a camera sees")
    axes.set_ylabel("precision, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return save(figure, path)


def plot_sweeps(swept: Sequence[Result], path: Path) -> Path:
    """Coverage and precision against each threshold."""
    lines = _lines(swept)
    parameters = list(dict.fromkeys(result.variant.parameter for result in swept))
    figure = Figure(figsize=(12, 2.9 * -(-len(parameters) // 4)), layout="constrained")
    for place, parameter in enumerate(parameters):
        axes = figure.add_subplot(-(-len(parameters) // 4), 4, place + 1)
        for name, line in lines.items():
            if line[0].variant.parameter == parameter:
                _plot_sweep(axes, line, "--" if name.endswith("alone") else "-")
        axes.set_title(parameter, fontsize=10)
        axes.grid(alpha=0.3)
    # The last one, of selection, has every kind of line.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return save(figure, path)


def plot_classes(results: Sequence[Result], classes: Sequence[str], path: Path) -> Path:
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    width = 0.8 / len(results)
    for axes, measure in zip(figure.subplots(1, len(MEASURES), sharey=True), MEASURES, strict=True):
        for place, result in enumerate(results):
            values = [100 * result.by_class(class_id)[measure].value for class_id in range(len(classes))]
            offset = (place - (len(results) - 1) / 2) * width
            axes.bar(np.arange(len(classes)) + offset, np.nan_to_num(values), width, label=result.variant.name)
        axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right", fontsize=8)
        axes.set_title(f"{measure}, %", fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(results), fontsize=8)
    return save(figure, path)


def _lines(results: Sequence[Result]) -> dict[str, list[Result]]:
    lines: dict[str, list[Result]] = {}
    for result in results:
        if result.variant.swept:
            lines.setdefault(result.variant.name, []).append(result)
    return lines


def _xy(line: Sequence[Result]) -> tuple[list[float], list[float]]:
    coverage = [100 * result.estimates["coverage"].value for result in line]
    return coverage, [100 * result.estimates["precision"].value for result in line]


def _plot_sweep(axes: Axes, line: Sequence[Result], style: str) -> None:
    x = [result.variant.value or 0.0 for result in line]
    for values, color, name in zip(_xy(line), ("C0", "C3"), ("coverage, %", "precision, %"), strict=True):
        axes.plot(x, values, style, color=color, marker=".", label=name if style == "-" else f"{name}, selection alone")
