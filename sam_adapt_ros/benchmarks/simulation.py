"""CPU time of rendering a frame of the simulated town, by domain."""

from __future__ import annotations

import time

import numpy as np

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.simulation import DOMAINS, Drive


def run(quick: bool = False) -> list[Figure]:
    """Median CPU time of one frame (sweep, image, JPEG), and its mean number of points."""
    figures = []
    for domain in DOMAINS:
        drive = Drive(domain, seed=3, frames=60)
        drive.record(0)
        seconds, points = [], []
        for index in range(0, 60, 12 if quick else 3):
            start = time.process_time()
            recording = drive.record(index)
            seconds.append(time.process_time() - start)
            points.append(len(recording.sweep.points))
        figures.append(
            Figure(f"town, {domain}: render a frame", float(np.median(seconds)), "s", "<= 0.15 s", "CPU time, one core")
        )
        figures.append(Figure(f"town, {domain}: points per sweep", float(np.mean(points)), "points"))
    return figures
