"""The report of a run, live or offline: ``summary.json``, pictures and ``report.html`` in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.outputs import prepare_folder
from sam_adapt_ros.notices import describe_counts
from sam_adapt_ros.visualization import plots
from sam_adapt_ros.visualization.pictures import label_picture, overlay_picture, save_image
from sam_adapt_ros.visualization.report import Picture, Report, Section, Table, sweep_caption

PICTURES = 4
"""Frames that a report shows."""


@dataclass(frozen=True, eq=False)
class ReportFrame:
    """A frame to be shown, with its labels, (N,) class ids."""

    frame: Frame
    labels: NDArray[np.uint8]


def evenly_spaced(total: int, count: int) -> set[int]:
    """At most ``count`` of the places 0 to total - 1, the first and the last among them."""
    return {int(place) for place in np.linspace(0, max(total - 1, 0), min(count, max(total, 1))).round()}


def prepare_report(output: Path, *, force: bool) -> None:
    """Tries, before the work begins, whether the report can be written. Raises OutputError.

    force: an earlier report is replaced.
    """
    prepare_folder(output, ("summary.json", "report.html"), ("pictures",), force=force)


def write_run_report(
    summary: RunSummary, shown: Sequence[ReportFrame], output: Path, title: str, sections: Sequence[Section] = ()
) -> None:
    """The report of labelled frames. sections: to begin with."""
    pictures = output / "pictures"
    bags = [_bags(summary.facts["bags"])] if "bags" in summary.facts else []
    quality = [_quality(summary, pictures)] if summary.has_ground_truth else []
    write_report(summary, output, title, [*sections, *bags, *quality, _frames(summary, shown, pictures)])


def write_report(summary: RunSummary, output: Path, title: str, sections: Sequence[Section]) -> None:
    """Writes ``summary.json`` and ``report.html``: the sections, then throughput and latency."""
    summary.write(output / "summary.json")
    plain = {name: value for name, value in summary.facts.items() if not isinstance(value, dict | list)}
    report = Report(title, " · ".join(f"{name.replace('_', ' ')}: {value}" for name, value in plain.items()))
    report.sections += [*sections, _throughput(summary, output / "pictures")]
    report.write(output / "report.html")


def bag_rows(bags: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of the table of a run's bags, one by one. bags: ``facts["bags"]`` of the summary."""
    scores: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "mean IoU, all points": lambda bag: bag.get("miou", {}).get(Branch.FUSED),
        "where a camera sees": lambda bag: bag.get("miou_online"),
        "of the source model": lambda bag: bag.get("miou_source"),
    }
    shown = {title: score for title, score in scores.items() if any(score(bag) is not None for bag in bags)}
    rows = [
        [
            bag["name"],
            f"{bag['frames_labelled']} of {bag['frames_in']}",
            describe_counts(bag.get("dropped", {})) or "none",
            *(score(bag) for score in shown.values()),
        ]
        for bag in bags
    ]
    return ["bag", "frames labelled", "dropped", *shown], rows


def _bags(bags: Sequence[Mapping[str, Any]]) -> Section:
    return Section(
        "Bag by bag", text="The bags are one stream; all else here is of all.", tables=[Table(*bag_rows(bags))]
    )


def _throughput(summary: RunSummary, pictures: Path) -> Section:
    facts = summary.as_dict()
    names = ("frames_in", "frames_labelled", "points", "points_seen_by_camera", "seconds", "fps")
    drops = [(reason, count) for kind in ("dropped", "camera_images_unused") for reason, count in facts[kind].items()]
    percentiles = ("p50", "p90", "p99")
    latencies = [(stage, *(values[p] for p in percentiles)) for stage, values in facts["latency_ms"].items()]
    notices = [(text,) for text in facts["notices"].values()]
    tables = [
        *([Table(("warnings",), notices)] if notices else []),
        Table([name.replace("_", " ") for name in names], [[facts[name] for name in names]]),
        Table(("reason", "count"), drops or [("none", 0)], "Sweeps dropped and camera images unused, by reason"),
        Table(("stage", *percentiles), latencies, "Latency of a frame, milliseconds"),
    ]
    shown = []
    if summary.latencies:
        series = {
            stage: (list(range(len(values))), [1e3 * value for value in values])
            for stage, values in summary.latencies.items()
        }
        path = plots.plot_lines(series, "frame", "ms", pictures / "latency.png")
        shown.append(Picture(path, "Latency by stage"))
    return Section("Throughput and latency", tables=tables, pictures=shown)


def _quality(summary: RunSummary, pictures: Path) -> Section:
    evaluation, taxonomy = summary.evaluation, summary.taxonomy
    iou = {str(branch): evaluation.confusion[branch].iou() for branch in Branch}
    rows: list[tuple] = [
        (name, *(float(values[place]) for values in iou.values())) for place, name in enumerate(taxonomy.classes)
    ]
    rows.append(("mean", *(evaluation.miou(branch) for branch in Branch)))
    matrix = evaluation.confusion[Branch.FUSED].matrix
    return Section(
        "Segmentation quality",
        text="2d is scored on the points that a camera sees, 3d and fused on all points with ground truth.",
        tables=[Table(("IoU", *Branch), rows)],
        pictures=[
            Picture(plots.plot_iou(iou, taxonomy, pictures / "iou.png"), "IoU by class"),
            Picture(
                plots.plot_confusion(matrix, taxonomy, pictures / "confusion.png"),
                "Confusion of the fused prediction, percent of each true class",
            ),
        ],
    )


def _frames(summary: RunSummary, shown: Sequence[ReportFrame], pictures: Path) -> Section:
    found = []
    for place, each in enumerate(shown):
        beside = "" if each.frame.ground_truth is None else "; right: ground truth"
        drawn = {
            "overlay": overlay_picture(each.frame, each.labels, summary.taxonomy),
            "labels": label_picture(each.frame, each.labels, summary.taxonomy),
        }
        for kind, picture in drawn.items():
            if picture is not None:
                path = save_image(picture, pictures / f"{kind}_{place:02d}.jpg")
                found.append(Picture(path, f"{kind.capitalize()}, {sweep_caption(each.frame).lower()}{beside}"))
    return Section("Frames", pictures=found)
