"""Whether the segmenter keeps up with the sensors: a real nuScenes frame, the bundled model, over DDS."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros import benchmarks
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.learning_latency import LearningLatency, frequent_rounds, percentile_99, two_cores
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import NuScenes, convert
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry import invert, make_transform
from sam_adapt_ros.messages import Calibration, CameraCalibration
from sam_adapt_ros.pipelines.live_bag import keep_to_this_machine

WARM_UP = 20  # sweeps
RIGS = ((("CAM_FRONT",), 5.0, "0", "<= 190 ms"), ((), 3.0, "", ""))
"""Cameras (none named: all six), Hz, and the targets for lost sweeps and the 99th percentile."""


def run(quick: bool = False) -> list[Figure]:
    """1,000 sweeps of 34,688 points with one camera at 5 Hz and with six at 3 Hz (100 each when quick), as the launch
    starts the node; then 1,000 more (200) with one camera at 5 Hz beside an adapter that learns all the time.

    Nothing without the real frame.

    Raises:
        SamAdaptError: no round ran while sweeps were labelled.
    """
    data = benchmarks.real_data()
    if data is None:
        return []
    keep_to_this_machine()
    with two_cores(), tempfile.TemporaryDirectory() as folder:
        frame = keyframe(data / "nuscenes_keyframe", Path(folder) / "bag")
        figures = [
            figure
            for names, hz, lost, p99 in RIGS
            for figure in _drive(frame, names, hz, 100 if quick else 1000, Path(folder), (lost, p99))
        ]
        return figures + _drive_learning(frame, *RIGS[0][:2], (100, 200) if quick else (300, 1000), Path(folder))


def keyframe(root: Path, bag: Path) -> Frame:
    """The real nuScenes frame with its six cameras, from the folder of the data set; ``bag`` is written."""
    convert(NuScenes([root]), bag)
    with BagReader(bag, Config.load("nuscenes", {"taxonomy": ""})) as reader:
        return next(iter(reader.frames()))


def _drive(
    frame: Frame, names: tuple[str, ...], hz: float, sweeps: int, folder: Path, targets: tuple[str, str]
) -> list[Figure]:
    from sam_adapt_ros.nodes.tools.node_process import NodeProcess
    from sam_adapt_ros.nodes.tools.synthetic_sensors import SyntheticSensors

    jpegs = _jpegs(frame, names)
    with (
        (folder / "log").open("w") as log,
        NodeProcess("segmenter", _config(frame, tuple(jpegs), folder), log=log),
        SyntheticSensors(frame.points, jpegs) as sensors,
    ):
        sensors.wait_for("segmenter")
        report, _ = sensors.drive(sweeps, hz, WARM_UP)
        ages = np.array(sensors.ages_ms[WARM_UP:])
        lost = sweeps - len(sensors.ages_ms)
    what, note = f"{len(jpegs)} camera{'s' * (len(jpegs) > 1)} at {hz:g} Hz", f"{len(frame.points)} points"
    model = report["latency_ms"]["model"]
    return [
        Figure(f"{what}: sweeps lost", lost, f"of {sweeps}", targets[0], str(report.get("dropped", "") or note)),
        Figure(f"{what}: sensor's stamp to labels in another process, p50", float(np.median(ages)), "ms", note=note),
        Figure(f"{what}: the same, p99", float(np.percentile(ages, 99)), "ms", targets[1], note),
        Figure(f"{what}: of that the model, p50", model["p50"], "ms", note=f"p99 {model['p99']:.0f} ms"),
    ]


def _drive_learning(
    frame: Frame, names: tuple[str, ...], hz: float, sweeps: tuple[int, int], folder: Path
) -> list[Figure]:
    """sweeps: before the adapter may learn, and from then on."""
    from sam_adapt_ros.nodes.tools.latency_probe import LatencyProbe
    from sam_adapt_ros.nodes.tools.node_process import NodeProcess
    from sam_adapt_ros.nodes.tools.synthetic_sensors import SyntheticSensors

    jpegs = _jpegs(frame, names)
    rounds = {**frequent_rounds(buffer=40, new_frames=5, steps=40), "adaptation.store.folder": str(folder / "store")}
    config = _config(frame, tuple(jpegs), folder, rounds)
    resumed_ns = 0

    def before(sweep: int) -> None:
        nonlocal resumed_ns
        if sweep == sweeps[0]:
            resumed_ns = time.time_ns()
            probe.pause(False)

    with (
        (folder / "log").open("w") as log,
        NodeProcess("segmenter", config, log=log),
        NodeProcess("adapter", config, log=log),
        LatencyProbe("/points") as probe,
        SyntheticSensors(frame.points, jpegs) as sensors,
    ):
        sensors.wait_for("segmenter", "adapter")
        probe.pause(True)
        report, _ = sensors.drive(sum(sweeps), hz, WARM_UP, before)
    times = LearningLatency(probe, resumed_ns, WARM_UP)
    if not len(times.learning):
        raise SamAdaptError("rate: no sweep was labelled during a round; run it again with less other load")
    lost = sum(sent > resumed_ns and stamp not in probe.labelled for stamp, sent in probe.sent.items())
    what, p99 = f"{len(jpegs)} camera at {hz:g} Hz while learning", percentile_99(times.learning)
    return [
        Figure(f"{what}: sweeps lost", lost, f"of {sweeps[1]}", "0", str(report.get("dropped", ""))),
        Figure(f"{what}: sweep to labels in another process, p50", float(np.median(times.learning)), "ms"),
        Figure(f"{what}: the same, p99", p99, "ms", "<= 190 ms", f"{len(times.learning)} of them during a round"),
        Figure(f"{what}: p99 over that with the adapter paused", p99 / percentile_99(times.without), "", "<= 1.1"),
        Figure(f"{what}: hot swaps", report["swaps"], "", ">= 1"),
    ]


def _jpegs(frame: Frame, names: tuple[str, ...]) -> dict[str, NDArray[np.uint8]]:
    return {
        view.name: np.asarray(cv2.imencode(".jpg", view.image[..., ::-1])[1], np.uint8).ravel()
        for view in frame.views
        if not names or view.name in names
    }


def _config(frame: Frame, names: tuple[str, ...], folder: Path, others: dict[str, Any] | None = None) -> Config:
    T_base_lidar = frame.T_base_lidar if frame.T_base_lidar is not None else make_transform((0, 0, 1.8), (0, 0, 0, 1))
    cameras = {
        view.name: CameraCalibration(view.name, T_base_lidar @ invert(view.T_camera_lidar), view.camera)
        for view in frame.views
        if view.name in names
    }
    Calibration("lidar", "base_link", "odom", T_base_lidar, cameras).save(folder / "calibration.yaml")
    return Config.from_flat(
        {
            "lidar.topic": "/points",
            **{f"cameras.{name}.image": f"/{name}/image" for name in names},
            "transforms.calibration_file": str(folder / "calibration.yaml"),
            "segmenter.weights": "town_small",
            **(others or {}),
        }
    )
