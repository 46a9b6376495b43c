"""A small made-up sequence in SemanticKITTI's layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CALIBRATION = """P0: 72 0 60 0 0 72 17 0 0 0 1 0
P1: 72 0 60 -38.6 0 72 17 0 0 0 1 0
P2: 72 0 60 4.5 0 72 17 0.02 0 0 1 0.0027
P3: 72 0 60 -33.7 0 72 17 0.2 0 0 1 0.0049
Tr: 0 -1 0 -0.012 0 0 -1 -0.054 1 0 0 -0.29
"""
SIZE = (124, 37)
IDS = (0, 1, 10, 40, 48, 50, 70, 252, 259)


def write_sequence(
    root: Path, name: str = "00", frames: int = 3, points: int = 30, labels: bool = True, size: tuple[int, int] = SIZE
) -> Path:
    """A car that drives ahead, 1 m a frame. Instances are in the labels' upper bits."""
    folder = root / "sequences" / name
    for each in ("velodyne", "image_2", *(["labels"] if labels else [])):
        (folder / each).mkdir(parents=True)
    rng = np.random.default_rng(int(name))
    for number in range(frames):
        rng.uniform(1, 20, (points, 4)).astype("<f4").tofile(folder / "velodyne" / f"{number:06d}.bin")
        image = rng.integers(0, 255, (size[1], size[0], 3), np.uint8)
        cv2.imwrite(str(folder / "image_2" / f"{number:06d}.png"), image)
        if labels:
            ids = np.resize(np.array(IDS, "<u4"), points) | np.arange(points, dtype="<u4") << 16
            ids.tofile(folder / "labels" / f"{number:06d}.label")
    (folder / "calib.txt").write_text(CALIBRATION)
    (folder / "times.txt").write_text("".join(f"{0.1 * number:e}\n" for number in range(frames)))
    (folder / "poses.txt").write_text("".join(f"1 0 0 0 0 1 0 0 0 0 1 {number}\n" for number in range(frames)))
    return folder
