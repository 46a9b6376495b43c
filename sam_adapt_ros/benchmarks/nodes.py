"""The segmenter node under a camera and a LiDAR of nuScenes's size, over real DDS between two processes."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.street import street
from sam_adapt_ros.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEIGHT, POINTS, HZ = 1600, 900, 34_688, 5.0
WARM_UP = 100  # frames after which memory has to stay where it is
START_TIMEOUT_S = 120.0


def run(quick: bool = False) -> list[Figure]:
    """1,000 frames at 5 Hz (150 when quick): overhead, losses, memory."""
    frames = 150 if quick else 1000
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(1 + secrets.randbelow(100))
    from sam_adapt_ros.nodes.process import SegmenterProcess

    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder))
        with (Path(folder) / "log").open("w") as log, SegmenterProcess(config, log=log), _sensors() as sensors:
            sensors.wait_for_segmenter()
            report, warm = sensors.drive(frames)
            ages = np.array(sensors.ages_ms)
    latency = report["latency_ms"]
    growth = 100.0 * (report["memory_mb"] / warm["memory_mb"] - 1.0)
    note = f"model p50 {latency['model']['p50']:.0f} ms; arrival to publish less model"
    p50, p99 = latency["overhead"]["p50"], latency["overhead"]["p99"]
    return [
        Figure("node overhead, p50", p50, "ms", "<= 20 ms", note),
        Figure("node overhead, p99", p99, "ms", "<= 40 ms", note),
        Figure("frames lost", frames - len(ages), f"of {frames}", "0", str(report.get("dropped", ""))),
        Figure("memory growth after warm-up", growth, "%", "<= 1 %", f"{report['memory_mb']:.0f} MB resident"),
        Figure("decode, p50", latency["decode"]["p50"], "ms", note="cloud, raw image, transforms"),
        Figure("publish, p50", latency["publish"]["p50"], "ms", note="encoding included"),
        Figure("sensor's stamp to labels elsewhere, p50", float(np.median(ages)), "ms", note="two hops of DDS, model"),
    ]


def _config(folder: Path) -> Config:
    """One camera, whose calibration is written into the folder, and weights of a network that costs little."""
    from sam_adapt_ros.geometry import CameraModel, make_transform
    from sam_adapt_ros.messages import Calibration, CameraCalibration

    K = np.array([[1266.0, 0, 800], [0, 1266.0, 450], [0, 0, 1]])
    T_base_camera = make_transform((1.7, 0.0, 1.5), (-0.5, 0.5, -0.5, 0.5))
    camera = CameraCalibration("camera", T_base_camera, CameraModel(WIDTH, HEIGHT, K))
    T_base_lidar = make_transform((0.9, 0.0, 1.8), (0.0, 0.0, 0.0, 1.0))
    Calibration("lidar", "base_link", "odom", T_base_lidar, {"front": camera}).save(folder / "calibration.yaml")
    return Config.from_flat(
        {
            "taxonomy": "town",
            "lidar.topic": "/points",
            "cameras.front.image": "/image",
            "transforms.calibration_file": str(folder / "calibration.yaml"),
            "segmenter.weights": str(_weights(folder)),
            "segmenter.device": "cpu",
        }
    )


def _weights(folder: Path) -> Path:
    """Of a network that any CPU runs at this rate: the node is measured, not the model (room ``segmentation``)."""
    from sam_adapt_ros.segmentation import weights as weights_files
    from sam_adapt_ros.segmentation.network import Network
    from sam_adapt_ros.segmentation.training import load_architecture
    from sam_adapt_ros.taxonomy import Taxonomy

    changes = {"image_height": 96, "image_width": 160, "point_levels": 2, "point_width": 4, "voxel_size": 0.4}
    architecture, classes = load_architecture("small").model_copy(update=changes), Taxonomy.load("town").classes
    state = Network(len(classes), architecture).state_dict()
    path = folder / "weights.safetensors"
    weights_files.save(path, weights_files.Weights(state, "town", classes, architecture))
    return path


class _Sensors:
    """Publishes sweeps, raw images and odometry, and hears labels and diagnostics."""

    def __init__(self, context: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from nav_msgs.msg import Odometry
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from sensor_msgs.msg import Image, PointCloud2, PointField

        from sam_adapt_ros.nodes.publishers import byte_array

        self.node = Node("sensors", context=context, use_global_arguments=False)
        self._sweeps = self.node.create_publisher(PointCloud2, "/points", 10)
        self._images = self.node.create_publisher(Image, "/image", 10)
        self._odometry = self.node.create_publisher(Odometry, "/odom", 10)
        self.node.create_subscription(PointCloud2, "/segmentation/labels", self._take_labels, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 10)
        points = np.resize(street(POINTS, 10).points, (POINTS, 3)).astype("<f4")
        fields = [PointField(name=name, offset=4 * place, datatype=7, count=1) for place, name in enumerate("xyz")]
        data = byte_array(points)
        self._sweep = PointCloud2(height=1, width=POINTS, fields=fields, point_step=12, row_step=len(data), data=data)
        self._sweep.header.frame_id = "lidar"
        pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self._image = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH, data=byte_array(pixels))
        self._image.header.frame_id = "camera"
        self._pose = Odometry(child_frame_id="base_link")
        self._pose.header.frame_id = "odom"
        self._pose.pose.pose.orientation.w = 1.0
        self.ages_ms: list[float] = []
        self._diagnostics: dict[str, Any] = {}
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)

    def wait_for_segmenter(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        publishers = (self._sweeps, self._images, self._odometry)
        while not all(publisher.get_subscription_count() for publisher in publishers):
            if time.monotonic() > deadline:
                raise TimeoutError("the segmenter did not start")
            time.sleep(0.1)
        time.sleep(0.5)

    def drive(self, frames: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Sends the frames; returns the last diagnostics, and those after the warm-up."""
        warm: dict[str, Any] = {}
        start = time.monotonic()
        for frame in range(frames):
            time.sleep(max(0.0, start + frame / HZ - time.monotonic()))
            if frame == WARM_UP:
                warm = self._diagnostics
            stamp = time.time_ns()
            for message in (self._pose, self._image, self._sweep):
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
            self._odometry.publish(self._pose)
            self._images.publish(self._image)
            self._sweeps.publish(self._sweep)
        deadline = time.monotonic() + 10.0
        while len(self.ages_ms) < frames and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2.0)  # for diagnostics that know of the last frame
        return self._diagnostics, warm

    def _take_labels(self, msg: Any) -> None:
        from sam_adapt_ros.messages import stamp_ns

        self.ages_ms.append((time.time_ns() - stamp_ns(msg.header)) * 1e-6)

    def _take_diagnostics(self, msg: Any) -> None:
        from sam_adapt_ros.nodes.diagnostics import read_diagnostics

        self._diagnostics = read_diagnostics(msg) or self._diagnostics


@contextmanager
def _sensors() -> Iterator[_Sensors]:
    import rclpy
    from rclpy.context import Context
    from rclpy.signals import SignalHandlerOptions

    from sam_adapt_ros.nodes import dds

    dds.use_profile()
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    sensors = _Sensors(context)
    thread = threading.Thread(target=sensors.executor.spin, daemon=True)
    thread.start()
    try:
        yield sensors
    finally:
        sensors.executor.shutdown(timeout_sec=5.0)
        thread.join(5.0)
        sensors.node.destroy_node()
        rclpy.try_shutdown(context=context)
