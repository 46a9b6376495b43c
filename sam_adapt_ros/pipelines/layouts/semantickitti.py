"""Drives in the layout of SemanticKITTI: KITTI's odometry sequences with images, sweeps, labels and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sam_adapt_ros.geometry.transforms import Transform, invert
from sam_adapt_ros.pipelines.layouts.drives import LayoutDrive, id_table, pixels, png
from sam_adapt_ros.progress import Progress, no_progress

DOMAIN = "new_city"
PERIOD = 0.5
"""Seconds from frame to frame; five times KITTI's, so that few frames see much."""
CAMERA_RIG = {"width": 414, "height": 125, "focal": 240.0, "position": (0.27, 0.06, 1.65)}  # a third of 1242 x 375
LIDAR_RIG = {"beams": 40, "lowest": -24.8, "highest": 2.0, "columns": 540, "position": (0.0, 0.0, 1.73)}
SEQUENCES = tuple(f"{number:02d}" for number in range(11))
"""Those with labels."""
IDS = {
    "road": 40,
    "sidewalk": 48,
    "terrain": 72,
    "building": 50,
    "vegetation": 70,
    "vehicle": 10,
    "pedestrian": 30,
    "pole": 80,
    "truck": 18,
}
_SHIFTS = {"P0": 0.0, "P1": -0.54, "P2": 0.06, "P3": -0.47}  # metres, of K [I | t]: where camera 0 is from each camera


def drive(sequence: str, seed: int, frames: int) -> LayoutDrive:
    """What ``write`` writes as a sequence."""
    return LayoutDrive(DOMAIN, 100 * seed + 20 + int(sequence), frames, PERIOD, CAMERA_RIG, LIDAR_RIG)


def write(
    root: Path, frames: int, seed: int, sequences: Sequence[str] = SEQUENCES, progress: Progress = no_progress
) -> None:
    """Writes each sequence with ``frames`` frames, below ``sequences``."""
    for place, sequence in enumerate(sequences):
        _write_sequence(root / "sequences" / sequence, drive(sequence, seed, frames))
        progress(place + 1, len(sequences))


def _write_sequence(folder: Path, rendered: LayoutDrive) -> None:
    for name in ("image_2", "velodyne", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    T_cam2_cam0 = np.eye(4)
    T_cam2_cam0[0, 3] = _SHIFTS["P2"]
    K = rendered.camera.model.K
    T_cam0_lidar = invert(rendered.T_base_camera @ T_cam2_cam0) @ rendered.lidar.T_base_lidar
    lines = [f"{name}: {_row(K @ np.column_stack([np.eye(3), (x, 0, 0)]))}" for name, x in _SHIFTS.items()]
    (folder / "calib.txt").write_text("\n".join([*lines, f"Tr: {_row(T_cam0_lidar)}"]) + "\n", encoding="ascii")
    table = id_table(IDS, nothing=0)
    poses: list[Transform] = []
    for index in range(len(rendered)):
        r = rendered.record(index)
        rows = np.column_stack([r.sweep.points, r.sweep.intensity / 255])
        (folder / "velodyne" / f"{index:06d}.bin").write_bytes(rows.astype("<f4").tobytes())
        labels = table[rendered.kind(r.sweep.class_id, r.sweep.instance)] | r.sweep.instance.astype(np.uint32) << 16
        (folder / "labels" / f"{index:06d}.label").write_bytes(labels.astype("<u4").tobytes())
        (folder / "image_2" / f"{index:06d}.png").write_bytes(png(pixels(r)))
        poses.append(r.T_odom_base @ rendered.lidar.T_base_lidar @ invert(T_cam0_lidar))
    lines = [_row(invert(poses[0]) @ T) for T in poses]
    (folder / "poses.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    times = [f"{index * rendered.period:.6e}" for index in range(len(rendered))]
    (folder / "times.txt").write_text("\n".join(times) + "\n", encoding="ascii")


def _row(matrix: Transform) -> str:
    """The upper 3 x 4 numbers."""
    return " ".join(f"{value:.12e}" for value in matrix[:3].ravel())
