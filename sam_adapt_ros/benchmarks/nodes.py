"""The segmenter node with a camera and a LiDAR of nuScenes' size, over DDS between two processes."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import numpy as np

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.street import street
from sam_adapt_ros.config import Config

WIDTH, HEIGHT, POINTS, HZ = 1600, 900, 34_688, 5.0
WARM_UP = 100  # frames after which memory must not grow


def run(quick: bool = False) -> list[Figure]:
    """Overhead, lost frames and memory over 1,000 frames at 5 Hz (150 when quick)."""
    frames = 150 if quick else 1000
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(1 + secrets.randbelow(100))
    from sam_adapt_ros.nodes.tools.node_process import NodeProcess
    from sam_adapt_ros.nodes.tools.synthetic_sensors import SyntheticSensors

    points = np.resize(street(POINTS, 10).points, (POINTS, 3))
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)

    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder))
        with (
            (Path(folder) / "log").open("w") as log,
            NodeProcess("segmenter", config, log=log),
            SyntheticSensors(points, {"front": image}) as sensors,
        ):
            sensors.wait_for("segmenter")
            report, warm = sensors.drive(frames, HZ, WARM_UP)
            ages = np.array(sensors.ages_ms)
    latency = report["latency_ms"]
    growth = 100.0 * (report["memory_mb"] / warm["memory_mb"] - 1.0)
    note = f"model p50 {latency['model']['p50']:.0f} ms; from arrival to publishing, without the model"
    p50, p99 = latency["overhead"]["p50"], latency["overhead"]["p99"]
    return [
        Figure("node overhead, p50", p50, "ms", "<= 20 ms", note),
        Figure("node overhead, p99", p99, "ms", "<= 40 ms", note),
        Figure("frames lost", frames - len(ages), f"of {frames}", "0", str(report.get("dropped", ""))),
        Figure("memory growth after warm-up", growth, "%", "<= 1 %", f"{report['memory_mb']:.0f} MB resident"),
        Figure("decode, p50", latency["decode"]["p50"], "ms", note="cloud, raw image, transforms"),
        Figure("publish, p50", latency["publish"]["p50"], "ms", note="encoding included"),
        Figure(
            "sensor's stamp to labels in another process, p50",
            float(np.median(ages)),
            "ms",
            note="two hops of DDS, model",
        ),
    ]


def _config(folder: Path) -> Config:
    """A configuration with one camera, a calibration file and the weights of a small network in ``folder``."""
    from sam_adapt_ros.geometry import CameraModel, make_transform
    from sam_adapt_ros.messages import Calibration, CameraCalibration

    K = np.array([[1266.0, 0, 800], [0, 1266.0, 450], [0, 0, 1]])
    T_base_camera = make_transform((1.7, 0.0, 1.5), (-0.5, 0.5, -0.5, 0.5))
    camera = CameraCalibration("front", T_base_camera, CameraModel(WIDTH, HEIGHT, K))
    T_base_lidar = make_transform((0.9, 0.0, 1.8), (0.0, 0.0, 0.0, 1.0))
    Calibration("lidar", "base_link", "odom", T_base_lidar, {"front": camera}).save(folder / "calibration.yaml")
    return Config.from_flat(
        {
            "taxonomy": "town",
            "lidar.topic": "/points",
            "cameras.front.image": "/front/image",
            "transforms.calibration_file": str(folder / "calibration.yaml"),
            "segmenter.weights": str(_weights(folder)),
            "segmenter.device": "cpu",
        }
    )


def _weights(folder: Path) -> Path:
    """Weights of a network that any CPU runs at this rate, since the node is measured here, not the model."""
    from sam_adapt_ros.config import load_architecture
    from sam_adapt_ros.segmentation import weights as weights_files
    from sam_adapt_ros.segmentation.network import Network
    from sam_adapt_ros.taxonomy import Taxonomy

    changes = {"image_height": 96, "image_width": 160, "point_levels": 2, "point_width": 4, "voxel_size": 0.4}
    architecture, classes = load_architecture("small").model_copy(update=changes), Taxonomy.load("town").classes
    state = Network(len(classes), architecture).state_dict()
    path = folder / "weights.safetensors"
    weights_files.save(path, weights_files.Weights(state, "town", classes, architecture))
    return path
