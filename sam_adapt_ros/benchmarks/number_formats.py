"""What the segmenter's fast form gives and costs on this CPU: BatchNorm folded and bfloat16 for the images."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from sam_adapt_ros import benchmarks
from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.mounting import drive
from sam_adapt_ros.benchmarks.rate import keyframe
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import SegmenterConfig
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, evaluate
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.device import has_bfloat16
from sam_adapt_ros.simulation.drive import frames

DOMAINS = ("day", "night", "new_city", "other_lidar", "rain")
SEED = 100


def run(quick: bool = False) -> list[Figure]:
    """The bundled model; times of both forms in turn, so that the load of the machine counts for both. quick: fewer
    frames."""
    plain, fast = (
        Segmenter.load("town_small", SegmenterConfig(precision=precision)) for precision in ("float32", "bfloat16")
    )
    slow = Segmenter.load("town_small", SegmenterConfig(precision="float32"))
    slow.labelling = slow.network  # as it was trained
    note = "" if has_bfloat16() else "this CPU emulates bfloat16: auto is float32"
    figures = []
    if (data := benchmarks.real_data()) is not None:
        with tempfile.TemporaryDirectory() as folder:
            six = keyframe(data / "nuscenes_keyframe", Path(folder) / "bag")
        one = replace(six, views=six.views[:1])
        for frame in (one, six):
            cameras = f"{len(frame.views)} camera{'s' * (len(frame.views) > 1)}, {len(frame.points)} points"
            times = _in_turn((slow, plain, fast), frame, 5 if quick else 20)
            figures += [
                Figure(
                    f"{cameras}: folded, processor time over plain",
                    times[1] / times[0],
                    "",
                    note=f"{1e3 * times[0]:.0f} ms",
                ),
                Figure(f"{cameras}: and bfloat16, the same", times[2] / times[0], "", note=note),
            ]
            if not quick and (compiler := shutil.which("c++")):
                compiled = [_compiled("float32"), _compiled("bfloat16")]
                times = _in_turn((plain, fast, *compiled), frame, 20)
                figures += [
                    Figure(f"{cameras}: compiled, {form}, processor time over not compiled", ratio, "", note=compiler)
                    for form, ratio in (("float32", times[2] / times[0]), ("bfloat16", times[3] / times[1]))
                ]
        figures += _change("pandaset_002", drive(data / "pandaset_002", 8 if quick else 1), plain, fast)
    for domain in DOMAINS:
        figures += _change(f"town, {domain}", frames(domain, SEED, 3 if quick else 15, period=1.0), plain, fast)
    return figures


def _compiled(precision: Literal["float32", "bfloat16"]) -> Segmenter:
    """The image branch by ``torch.compile``, which needs a C++ compiler, and some 20 s at the first frame."""
    segmenter = Segmenter.load("town_small", SegmenterConfig(precision=precision))
    image = segmenter.labelling.get_submodule("image")
    image.feature_map = torch.compile(image.feature_map)  # type: ignore[assignment, arg-type]
    return segmenter


def _in_turn(segmenters: Iterable[Segmenter], frame: Frame, rounds: int) -> list[float]:
    """Median seconds of processor time a frame of each."""
    times: list[list[float]] = [[_processor_time(segmenter, frame) for segmenter in segmenters] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times[1:], strict=True)]


def _processor_time(segmenter: Segmenter, frame: Frame) -> float:
    start = time.process_time()
    segmenter(frame)
    return time.process_time() - start


def _change(what: str, drive: Iterable[Frame], plain: Segmenter, fast: Segmenter) -> list[Figure]:
    drive = list(drive)
    before, after = evaluate(drive, plain), evaluate(drive, fast)
    rows = {"fused": Branch.FUSED, "fused, seen": FUSED_SEEN, "2D": Branch.IMAGE}
    return [
        Figure(f"{what}: bfloat16 less float32, {name}", after.miou(key) - before.miou(key), "mIoU", "within 0.002")
        for name, key in rows.items()
    ]
