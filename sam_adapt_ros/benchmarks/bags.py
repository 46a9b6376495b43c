"""CPU time of converting and reading bags, on real frames."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import KittiRaw, NuScenes, convert

_TARGET = "<= 10 ms"
_SAMPLE_INTERVAL_US = 500_000


def run(quick: bool = False) -> list[Figure]:
    """CPU time of conversion per megabyte of input, without the start-up, and of reading a frame."""
    data = real_data()
    if data is None:
        return []
    few, many = (2, 12) if quick else (5, 65)
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (few, many):
            _repeat_keyframe(data / "nuscenes_keyframe", folder / f"nuscenes{count}", count)
        figures += _conversion(
            "nuScenes",
            lambda count: convert(NuScenes([folder / f"nuscenes{count}"]), folder / "nuscenes", force=True),
            (few, many),
            _size(data / "nuscenes_keyframe", "samples/*/*", "lidarseg/*/*"),
        )
        drive = data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_9001_sync"
        for count in (2, 12):
            _first_frames(drive, folder / f"kitti{count}" / "2011_09_26", count)
        figures += _conversion(
            "KITTI",
            lambda count: convert(KittiRaw([folder / f"kitti{count}"]), folder / "kitti", force=True),
            (2, 12),
            _size(drive, "*/data/*") / 12,
        )
        figures.append(_reading("nuScenes, six 1600x900 JPEG", folder / "nuscenes", Config.load("nuscenes")))
        figures.append(_reading("KITTI, one 1242x375 PNG", folder / "kitti", Config.load("kitti")))
    return figures


def _conversion(
    name: str, convert: Callable[[int], list[Path]], counts: tuple[int, int], megabytes_a_frame: float
) -> list[Figure]:
    """CPU time per megabyte and start-up, from the best of three short and three long conversions."""
    few, many = counts
    short, long = (min(_cpu_seconds(lambda n=n: convert(n)) for _ in range(3)) for n in counts)  # type: ignore[misc]
    slope = (long - short) / ((many - few) * megabytes_a_frame)
    return [
        Figure(f"convert {name}: CPU a megabyte", 1e3 * slope, "ms", _TARGET, "without the start-up"),
        Figure(f"convert {name}: start-up", short - slope * few * megabytes_a_frame, "s", note="CPU time per bag"),
    ]


def _reading(name: str, bag: Path, config: Config) -> Figure:
    with BagReader(bag, config) as reader:
        frames = reader.frames()
        next(frames)
        start = time.perf_counter()
        count = sum(1 for _ in frames)
        seconds = time.perf_counter() - start
    return Figure(f"read a frame: {name}", 1e3 * seconds / count, "ms", note="synchronized and decoded")


def _cpu_seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def _size(folder: Path, *patterns: str) -> float:
    """Total size of the files that match, megabytes."""
    return sum(path.stat().st_size for pattern in patterns for path in folder.glob(pattern)) / 1e6


def _repeat_keyframe(source: Path, target: Path, count: int) -> None:
    """Makes a nuScenes scene of ``count`` keyframes that share the files of one."""
    (target / "v1.0-mini").mkdir(parents=True)
    for folder in ("samples", "lidarseg"):
        (target / folder).symlink_to(source / folder)
    tables = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in source.glob("v1.0-mini/*.json")}
    references = {
        "sample": ("token",),
        "sample_data": ("token", "sample_token", "ego_pose_token"),
        "ego_pose": ("token",),
        "lidarseg": ("token", "sample_data_token"),
    }
    for table, fields in references.items():
        rows = []
        for index in range(count):
            for row in tables[table]:
                row = row | {field: f"{row[field]}-{index}" for field in fields}
                if "timestamp" in row:
                    row["timestamp"] += index * _SAMPLE_INTERVAL_US
                rows.append(row)
        tables[table] = rows
    for table, rows in tables.items():
        (target / "v1.0-mini" / f"{table}.json").write_text(json.dumps(rows), encoding="utf-8")


def _first_frames(drive: Path, target: Path, count: int) -> None:
    """Makes a KITTI drive of the first ``count`` frames of another."""
    target.mkdir(parents=True)
    for path in drive.parent.glob("calib_*.txt"):
        (target / path.name).symlink_to(path)
    for sensor in ("velodyne_points", "image_02"):
        folder = target / drive.name / sensor
        (folder / "data").mkdir(parents=True)
        (folder / "timestamps.txt").symlink_to(drive / sensor / "timestamps.txt")
        for file in sorted((drive / sensor / "data").iterdir())[:count]:
            (folder / "data" / file.name).symlink_to(file)
