"""Plots for reports, drawn with matplotlib off screen; each function writes one PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from sam_adapt_ros.taxonomy import Taxonomy

mpl.use("Agg")
DPI = 110


def save(figure: Figure, path: Path) -> Path:
    """Writes the figure, and its folder. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight", facecolor="white")
    return path


def plot_confusion(matrix: NDArray[np.int64], taxonomy: Taxonomy, path: Path) -> Path:
    """matrix: (C, C) counts, rows true; shown as the share of each true class."""
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    ticks = range(len(taxonomy))
    axes.set_xticks(ticks, taxonomy.classes, rotation=45, ha="right")
    axes.set_yticks(ticks, taxonomy.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in np.ndindex(share.shape):
        if share[row, column] >= 0.005:
            color = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return save(figure, path)


def plot_iou(iou: Mapping[str, ArrayLike], taxonomy: Taxonomy, path: Path) -> Path:
    """iou: by branch, (C,) values from 0 to 1 (NaN: the class never occurred)."""
    figure = Figure(figsize=(8, 3.2))
    axes = figure.subplots()
    width = 0.8 / len(iou)
    for place, (branch, values) in enumerate(iou.items()):
        offset = (place - (len(iou) - 1) / 2) * width
        axes.bar(np.arange(len(taxonomy)) + offset, np.nan_to_num(np.asarray(values)), width, label=branch)
    axes.set_xticks(range(len(taxonomy)), taxonomy.classes, rotation=30, ha="right")
    axes.set_ylim(0, 1)
    axes.set_ylabel("IoU")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(iou), frameon=False)  # above the bars
    return save(figure, path)


def plot_lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str, path: Path
) -> Path:
    """series: name -> (x, y)."""
    figure = Figure(figsize=(8, 3.2))
    axes = figure.subplots()
    for name, (x, y) in series.items():
        axes.plot(x, y, label=name, linewidth=1.3)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(series), 5), frameon=False)
    return save(figure, path)
