"""Figures of ``enhance`` (time, scaling, memory) and of GAPP on the real nuScenes keyframe."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from sam_adapt_ros.benchmarks import Figure, nuscenes_boxes, real_data
from sam_adapt_ros.benchmarks.front_view import front_view
from sam_adapt_ros.benchmarks.street import Street, occlusion, street
from sam_adapt_ros.benchmarks.timing import cpu_milliseconds
from sam_adapt_ros.config import EnhancementConfig, VisibilityConfig
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.geometry.visibility import visible
from sam_adapt_ros.pseudo_labels import enhance
from sam_adapt_ros.pseudo_labels.propagation_reference import enhance_by_definition

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 200_000)
MASKS = (25, 50, 100, 200, 400)


def run(quick: bool = False) -> list[Figure]:
    repetitions = 10 if quick else 50
    return [
        *_times(repetitions),
        _against_a_tree(repetitions),
        _against_the_definition(repetitions),
        *_scaling(
            5 if quick else 15, SIZES[:4] if quick else SIZES, None if quick else Path("out/enhance_scaling.png")
        ),
        Figure("enhance, peak extra memory, 21,000 points x 200 masks", peak_memory(21_000, 200), "MiB", "<= 64 MiB"),
        _visibility(repetitions),
        *_boxes(2 if quick else 10),
    ]


def time_enhance(scene: Street, repetitions: int, config: EnhancementConfig | None = None) -> float:
    """Milliseconds of one ``enhance`` of a street."""
    config = config or EnhancementConfig()
    return cpu_milliseconds(
        lambda: enhance(scene.points, scene.labels, scene.membership, scene.areas, config), repetitions
    )


def peak_memory(points: int, masks: int) -> float:
    """MiB that one ``enhance`` adds to a process's peak resident memory (Linux), measured in a process of its own."""
    code = (
        "import ctypes, json; from sam_adapt_ros.benchmarks.pseudo_labels import *; "
        f"s = street({points}, {masks}); w = street(300, 5); c = EnhancementConfig(); "
        "enhance(w.points, w.labels, w.membership, w.areas, c); "
        "ctypes.CDLL(None).malloc_trim(0); open('/proc/self/clear_refs', 'w').write('5'); "
        "read = lambda k: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith(k)); "
        "before = read('VmRSS'); enhance(s.points, s.labels, s.membership, s.areas, c); "
        "print(json.dumps((read('VmHWM') - before) / 1024))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return float(json.loads(output))


def _times(repetitions: int) -> list[Figure]:
    front, small = street(21_000, 200), street(3_000, 100, beams=32)
    return [
        Figure("enhance, 21,000 points x 200 masks, 64 beams", time_enhance(front, repetitions), "ms", "<= 15 ms"),
        Figure("enhance, 3,000 points x 100 masks, 32 beams", time_enhance(small, repetitions), "ms", "<= 3 ms"),
    ]  # fmt: skip


def _against_a_tree(repetitions: int) -> Figure:
    """The median of ratios, each of two times taken at once: what else the machine does mostly cancels out."""
    scene, config = front_view(), EnhancementConfig(min_points=3, min_purity=0.8)
    points = scene.points.astype(np.float64)
    tree = cKDTree(points)
    times = np.array(
        [
            (time_enhance(scene, 1, config), cpu_milliseconds(lambda: tree.query(points, 16), 1))
            for _ in range(repetitions)
        ]
    )
    ratio = float(np.median(times[:, 0] / times[:, 1]))
    enhancing, querying = np.median(times, axis=0)
    return Figure(
        "enhance over a 16-neighbour k-d tree query, 21,000 points x 200 masks, 60 beams",
        ratio,
        "",
        "<= 0.1",
        f"{enhancing:.1f} ms over {querying:.1f} ms, the tree built before",
    )


def _against_the_definition(repetitions: int) -> Figure:
    """How much faster than the literal reference on the same frame."""
    scene, config = street(3_000, 100, beams=32), EnhancementConfig()
    start = time.thread_time()
    enhance_by_definition(scene.points, scene.labels, scene.membership, scene.areas, config)
    reference = 1e3 * (time.thread_time() - start)
    return Figure(
        "enhance, 3,000 points x 100 masks: speed against the literal definition",
        reference / time_enhance(scene, repetitions),
        "x",
        ">= 100 x",
    )


def _scaling(repetitions: int, sizes: tuple[int, ...], picture: Path | None) -> list[Figure]:
    """How much faster time grows than N log N over the points, and than linearly over the masks."""
    by_points = {size: time_enhance(street(size, 200), repetitions) for size in sizes}
    by_masks = {count: time_enhance(street(21_000, count), repetitions) for count in MASKS}
    if picture is not None:
        _plot(by_points, by_masks, picture)
    low, high = sizes[-3], sizes[-1]
    n_log_n = high * np.log(high) / (low * np.log(low))
    points_growth = by_points[high] / by_points[low] / n_log_n
    masks_growth = by_masks[MASKS[-1]] / by_masks[MASKS[1]] / (MASKS[-1] / MASKS[1])
    points_note = ", ".join(f"{size:,}: {milliseconds:.1f} ms" for size, milliseconds in by_points.items())
    masks_note = ", ".join(f"{count}: {milliseconds:.1f} ms" for count, milliseconds in by_masks.items())
    return [
        Figure(f"enhance, {low:,} to {high:,} points: time over N log N", points_growth, "x", "<= 1 x", points_note),
        Figure(f"enhance, {MASKS[1]} to {MASKS[-1]} masks: time over linear", masks_growth, "x", "<= 1 x", masks_note),
    ]  # fmt: skip


def _plot(by_points: dict[int, float], by_masks: dict[int, float], path: Path) -> None:
    """Writes a picture: time against points (with N log N for comparison) and against masks."""
    from matplotlib.figure import Figure as Plot

    plot = Plot(figsize=(10, 4), layout="constrained")
    left, right = plot.subplots(1, 2)
    sizes, times = list(by_points), list(by_points.values())
    left.loglog(sizes, times, "o-", label="enhance, 200 masks")
    reference = np.array(sizes) * np.log(sizes)
    left.loglog(sizes, times[-1] * reference / reference[-1], "--", label="N log N")
    left.set(xlabel="points", ylabel="ms, one core")
    left.legend()
    right.plot(list(by_masks), list(by_masks.values()), "o-", label="enhance, 21,000 points")
    right.set(xlabel="masks", ylabel="ms, one core", xlim=(0, None), ylim=(0, None))
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(path, dpi=120)


def _visibility(repetitions: int) -> Figure:
    points, view, _ = occlusion(21_000)
    projection = project(points, view)
    config = VisibilityConfig()
    return Figure(
        "visibility, 21,000 points", cpu_milliseconds(lambda: visible(projection, view, config), repetitions), "ms"
    )


def _boxes(seeds: int) -> list[Figure]:
    data = real_data()
    if data is None:
        return []
    frame = nuscenes_boxes.read(data / "nuscenes_keyframe")
    precision, recall = {}, {}
    for propagation in ("gapp", "direct"):
        config = nuscenes_boxes.CONFIG.model_copy(update={"propagation": propagation})
        pairs = [
            nuscenes_boxes.precision_and_recall(nuscenes_boxes.measure(frame, config, seed=seed))
            for seed in range(seeds)
        ]
        precision[propagation], recall[propagation] = np.mean(pairs, axis=0).tolist()
    note = f"mean of {seeds} draws of the seeds; points that were no seeds, six cameras"
    return [
        Figure("nuScenes boxes: precision of GAPP", precision["gapp"], "", ">= 0.98", note),
        Figure("nuScenes boxes: recall of GAPP", recall["gapp"], "", f">= {recall['direct'] - 0.02:.3f}", note),
        Figure("nuScenes boxes: precision of direct propagation", precision["direct"], "", "", note),
        Figure("nuScenes boxes: recall of direct propagation", recall["direct"], "", "", note),
    ]  # fmt: skip
