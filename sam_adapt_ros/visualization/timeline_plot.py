"""The plot of a drive's timeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.timeline import WINDOW, Timeline
from sam_adapt_ros.visualization import plots

EVENT_STYLES = {"promoted": ("tab:green", "-"), "refused": ("tab:red", ":"), "rolled back": ("tab:orange", "-.")}
"""Colour and line of an event, by its outcome."""
LEAST_SPAN = 0.1
"""Of the vertical axis."""


def plot_timeline(timeline: Timeline, path: Path) -> Path:
    """Quality of the published labels and of the source model's along the drive, and every round with its number.

    With ground truth, mean IoU, below it that of the image branch alone; without, the agreement of both branches.
    """
    rows: dict[str, tuple[list[float], list[float]]] = {}
    if timeline.has_ground_truth:
        for branch, label in ((Branch.FUSED, f"mean IoU over {WINDOW} frames"), (Branch.IMAGE, "image branch alone")):
            rows[label] = timeline.source.windowed_miou(branch), timeline.online.windowed_miou(branch)
    else:
        rows["agreement of 2d and 3d"] = timeline.source.agreement, timeline.online.agreement
    figure = Figure(figsize=(10, 1.2 + 2.8 * len(rows)))
    all_axes = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    for place, (axes, (label, (source, online))) in enumerate(zip(all_axes, rows.items(), strict=True)):
        _plot_curves(axes, np.array(source), np.array(online))
        _plot_events(axes, timeline, named=place == 0)
        low, high = axes.get_ylim()
        if high - low < LEAST_SPAN:  # else noise looks like a gain
            axes.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    all_axes[-1].set_xlim(0.5, max(len(timeline), *(event.frame for event in timeline.events), 1) + 1.5)
    all_axes[-1].set_xlabel("frame of the drive")
    all_axes[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=5, frameon=False)
    return plots.save(figure, path)


def _plot_curves(axes: Axes, source: np.ndarray, online: np.ndarray) -> None:
    frames = np.arange(1, len(source) + 1)
    axes.plot(frames, source, "--", color="tab:gray", label="source model", linewidth=1.6)
    axes.plot(frames, online, color="tab:blue", label="published labels", linewidth=1.8)
    for where, color in ((online >= source, "tab:green"), (online < source, "tab:red")):
        axes.fill_between(frames, source, online, where=where, color=color, alpha=0.15, linewidth=0)


def _plot_events(axes: Axes, timeline: Timeline, named: bool) -> None:
    """named: with the number of its round and what was promoted, above the curves."""
    labelled: set[str] = set()
    number = 0
    for event in timeline.events:
        color, style = EVENT_STYLES[event.outcome]
        label = None if event.outcome in labelled else event.outcome
        labelled.add(event.outcome)
        axes.axvline(event.frame + 0.5, color=color, linestyle=style, label=label)
        number += not event.rolled_back
        if not named or event.rolled_back:
            continue
        axes.annotate(
            f"{number}: {event.promoted}" if event.promoted else str(number),
            (event.frame + 0.5, 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=40,
            va="bottom",
            fontsize=8,
            color=color,
        )
