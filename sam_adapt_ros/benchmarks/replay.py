"""Offline replay: rate, and the share of its time outside the model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import KittiRaw, convert
from sam_adapt_ros.pipelines.replay import replay

DRIVE = Path("kitti_raw/2011_09_26/2011_09_26_drive_9001_sync")


def run(quick: bool = False) -> list[Figure]:
    """The best of three runs (one when quick)."""
    data = real_data()
    if data is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        (bag,) = convert(KittiRaw([data / DRIVE]), Path(folder) / "bag")
        shares, rates = [], []
        for attempt in range(1 if quick else 3):
            summary = replay(bag, Config.load("kitti"), Path(folder) / f"out{attempt}")
            shares.append(1 - sum(summary.latencies["model"]) / summary.seconds)
            rates.append(summary.frames_labelled / summary.seconds)
    note = "12 scans of about 113,000 points with a 1242x375 image, best of the runs"
    return [
        Figure("replay, KITTI clip: time outside the model", 100 * min(shares), "%", "<= 15 %", note),
        Figure("replay, KITTI clip: rate", max(rates), "frames/s", note=note),
    ]
