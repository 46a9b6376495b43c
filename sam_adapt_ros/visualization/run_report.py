"""The report of a run, live or offline: ``summary.json``, pictures and ``report.html`` in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.visualization import plots
from sam_adapt_ros.visualization.pictures import label_picture, overlay_picture, save_image
from sam_adapt_ros.visualization.report import Picture, Report, Section, Table

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


def write_run_report(
    summary: RunSummary, samples: Sequence[ReportFrame], output: Path, title: str, sections: Sequence[Section] = ()
) -> Path:
    """Writes everything into ``output`` and returns the path of ``report.html``. sections: to begin with."""
    pictures = output / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    summary.write(output / "summary.json")
    facts = summary.as_dict()
    plain = {name: value for name, value in summary.facts.items() if not isinstance(value, dict)}
    report = Report(title, subtitle=" · ".join(f"{name}: {value}" for name, value in plain.items()))
    report.sections.extend(sections)
    report.sections.append(flow_section(facts))
    if summary.has_ground_truth:
        report.sections.append(_quality(summary, pictures))
    report.sections.append(_frames(summary, samples, pictures))
    if summary.latencies:
        report.sections.append(timing_section(summary, pictures))
    report.write(output / "report.html")
    return output / "report.html"


def flow_section(facts: dict) -> Section:
    names = ("frames_in", "frames_labelled", "points", "points_seen_by_camera", "seconds", "fps")
    drops = [(reason, count) for kind in ("dropped", "camera_images_unused") for reason, count in facts[kind].items()]
    tables = [
        Table(names, [[facts[name] for name in names]]),
        Table(("reason", "count"), drops or [("none", 0)], "Sweeps dropped and camera images left out, by reason"),
        Table(
            ("stage", "p50", "p90", "p99"),
            [(stage, *(values[p] for p in ("p50", "p90", "p99"))) for stage, values in facts["latency_ms"].items()],
            "Milliseconds a frame",
        ),
    ]
    return Section("What went through", tables=tables)


def _quality(summary: RunSummary, pictures: Path) -> Section:
    iou: dict[str, NDArray[np.float64]] = {branch: summary.evaluation.confusion[branch].iou() for branch in Branch}
    rows: list[tuple] = [
        (name, *(float(iou[branch][place]) for branch in Branch)) for place, name in enumerate(summary.taxonomy.classes)
    ]
    rows.append(("mean", *(summary.evaluation.miou(branch) for branch in Branch)))
    return Section(
        "How good it is",
        text="2d is judged on the points that a camera sees, 3d and fused on all labelled points.",
        tables=[Table(("IoU", *Branch), rows)],
        pictures=[
            Picture(plots.plot_iou(iou, summary.taxonomy, pictures / "iou.png"), "IoU a class"),
            Picture(
                plots.plot_confusion(
                    summary.evaluation.confusion[Branch.FUSED].matrix, summary.taxonomy, pictures / "confusion.png"
                ),
                "Confusion of the fused prediction, percent of each true class",
            ),
        ],
    )


def _frames(summary: RunSummary, samples: Sequence[ReportFrame], pictures: Path) -> Section:
    shown = []
    for place, sample in enumerate(samples):
        beside = "" if sample.frame.ground_truth is None else "; right: true labels"
        when = f"sweep at {sample.frame.stamp_ns / 1e9:.3f} s{beside}"
        drawn = {
            "overlay": overlay_picture(sample.frame, sample.labels, summary.taxonomy),
            "labels": label_picture(sample.frame, sample.labels, summary.taxonomy),
        }
        for kind, picture in drawn.items():
            if picture is not None:
                path = save_image(picture, pictures / f"{kind}_{place:02d}.jpg")
                shown.append(Picture(path, f"{kind.capitalize()}, {when}"))
    return Section("What it looks like", pictures=shown)


def timing_section(summary: RunSummary, pictures: Path) -> Section:
    series = {
        stage: (list(range(len(values))), [1e3 * value for value in values])
        for stage, values in summary.latencies.items()
    }
    path = plots.plot_lines(series, "frame", "ms", pictures / "latency.png")
    return Section("Time a frame", pictures=[Picture(path, "Milliseconds a frame, by stage")])
