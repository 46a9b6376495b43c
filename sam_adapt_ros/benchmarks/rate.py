"""Whether the segmenter keeps up with the sensors: a real nuScenes frame, the bundled model, over DDS."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros import benchmarks
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import NuScenes, convert
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry import invert, make_transform
from sam_adapt_ros.messages import Calibration, CameraCalibration
from sam_adapt_ros.pipelines.live_bag import keep_to_this_machine

WARM_UP = 20  # sweeps
RIGS = ((("CAM_FRONT",), 5.0, "0", "<= 190 ms"), ((), 3.0, "", ""))
"""Cameras (none named: all six), Hz, and the targets for lost sweeps and the 99th percentile."""


def run(quick: bool = False) -> list[Figure]:
    """1,000 sweeps of 34,688 points with one camera at 5 Hz and with six at 3 Hz (100 each when quick), as the launch
    starts the node. Nothing without the real frame."""
    data = benchmarks.real_data()
    if data is None:
        return []
    keep_to_this_machine()
    with tempfile.TemporaryDirectory() as folder:
        frame = keyframe(data / "nuscenes_keyframe", Path(folder) / "bag")
        return [
            figure
            for names, hz, lost, p99 in RIGS
            for figure in _drive(frame, names, hz, 100 if quick else 1000, Path(folder), (lost, p99))
        ]


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

    views = [view for view in frame.views if not names or view.name in names]
    jpegs: dict[str, NDArray[np.uint8]] = {
        view.name: np.asarray(cv2.imencode(".jpg", view.image[..., ::-1])[1], np.uint8).ravel() for view in views
    }
    with (
        (folder / "log").open("w") as log,
        NodeProcess("segmenter", _config(frame, tuple(jpegs), folder), log=log),
        SyntheticSensors(frame.points, jpegs) as sensors,
    ):
        sensors.wait_for_segmenter()
        report, _ = sensors.drive(sweeps, hz, WARM_UP)
        ages = np.array(sensors.ages_ms[WARM_UP:])
        lost = sweeps - len(sensors.ages_ms)
    what, note = f"{len(views)} camera{'s' * (len(views) > 1)} at {hz:g} Hz", f"{len(frame.points)} points"
    model = report["latency_ms"]["model"]
    return [
        Figure(f"{what}: sweeps lost", lost, f"of {sweeps}", targets[0], str(report.get("dropped", "") or note)),
        Figure(f"{what}: sensor's stamp to labels in another process, p50", float(np.median(ages)), "ms", note=note),
        Figure(f"{what}: the same, p99", float(np.percentile(ages, 99)), "ms", targets[1], note),
        Figure(f"{what}: of that the model, p50", model["p50"], "ms", note=f"p99 {model['p99']:.0f} ms"),
    ]


def _config(frame: Frame, names: tuple[str, ...], folder: Path) -> Config:
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
        }
    )
