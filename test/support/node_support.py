"""What the node tests share: small weights, a synthetic sensor rig, and the segmenter in a process of its own."""

from __future__ import annotations

import array
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField

from sam_adapt_ros.config import ArchitectureConfig, Config
from sam_adapt_ros.geometry import CameraModel, make_transform
from sam_adapt_ros.messages import Calibration, CameraCalibration, stamp_ns
from sam_adapt_ros.nodes import fastdds
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.synchronizer import SynchronizedSweep
from sam_adapt_ros.nodes.throttled_logger import ThrottledLogger
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.taxonomy import Taxonomy

SECOND = 1_000_000_000
START_NS = 1_700_000_000 * SECOND
ARCHITECTURE = ArchitectureConfig(
    encoder="tu-resnet10t",
    encoder_stem=8,
    encoder_channels=[8, 16, 16, 16],
    decoder_channels=[16, 8, 8, 8],
    image_height=64,
    image_width=96,
    point_width=4,
    point_levels=2,
    voxel_size=0.5,
)
WIDTH, HEIGHT = 96, 64
CAMERAS = ("front", "side")
# The optical frame (z forward, x right) looks along the vehicle's x.
T_BASE_CAMERA = make_transform((0.2, 0.0, 1.5), (-0.5, 0.5, -0.5, 0.5))
T_BASE_LIDAR = make_transform((0.0, 0.0, 1.8), (0.0, 0.0, 0.0, 1.0))

# Parallel test runs on one machine must not exchange messages.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
fastdds.use_profile()


def save_weights(path: Path, seed: int = 0, taxonomy: str = "town") -> Path:
    """A small network's random weights."""
    torch.manual_seed(seed)
    classes = Taxonomy.load(taxonomy).classes
    network = Network(len(classes), ARCHITECTURE)
    weights_files.save(path, weights_files.Weights(network.state_dict(), taxonomy, classes, ARCHITECTURE))
    return path


def camera_model(width: int = WIDTH, height: int = HEIGHT) -> CameraModel:
    K = np.array([[width / 2, 0, width / 2 - 0.5], [0, width / 2, height / 2 - 0.5], [0, 0, 1]])
    return CameraModel(width, height, K)


def save_calibration(path: Path, cameras: Sequence[str], model: CameraModel | None = None) -> Path:
    views = {name: CameraCalibration(f"{name}_optical", T_BASE_CAMERA, model or camera_model()) for name in cameras}
    Calibration("lidar", "base_link", "odom", T_BASE_LIDAR, views).save(path)
    return path


def make_config(weights: Path, calibration: Path, cameras: Sequence[str], **values: object) -> Config:
    flat: dict[str, object] = {
        "taxonomy": "town",
        "lidar.topic": "/points",
        "transforms.calibration_file": str(calibration),
        "segmenter.weights": str(weights),
        "segmenter.device": "cpu",
        "segmenter.threads": 1,
        "segmenter.diagnostics_period": 0.2,
        **{f"cameras.{name}.image": f"/{name}/image" for name in cameras},
    }
    return Config.from_flat({**flat, **values})


class LogRecorder:
    """A logger that keeps its messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    warning = info


def make_statistics(log: LogRecorder | None = None) -> StreamStatistics:
    return StreamStatistics(ThrottledLogger(log or LogRecorder()))


def make_sweep(stamp: int = START_NS, points: np.ndarray | None = None) -> SynchronizedSweep:
    """A sweep without images."""
    cloud = cloud_message(stamp, random_points(3) if points is None else points)
    return SynchronizedSweep(stamp, cloud, {}, (), arrival_ns=0, ready_ns=0)


def random_points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform((-20, -20, -2), (20, 20, 3), (count, 3)).astype(np.float32)


def until(condition: Callable[[], Any], timeout: float = 30.0, what: str = "") -> None:
    """Waits for a condition; fails with its name when it does not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.02)


def as_bytes(data: np.ndarray) -> array.array:
    result = array.array("B")
    result.frombytes(np.ascontiguousarray(data).tobytes())
    return result


def cloud_message(stamp: int, points: np.ndarray, frame_id: str = "lidar") -> PointCloud2:
    message = PointCloud2(height=1, width=len(points), point_step=12, row_step=12 * len(points), is_dense=True)
    message.fields = [
        PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")
    ]
    message.data = as_bytes(points.astype("<f4"))
    return stamped(message, stamp, frame_id)


def image_message(stamp: int, image: np.ndarray, frame_id: str) -> Image:
    height, width = image.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width, data=as_bytes(image))
    return stamped(message, stamp, frame_id)


def jpeg_message(stamp: int, image: np.ndarray, frame_id: str) -> CompressedImage:
    return stamped(CompressedImage(format="jpeg", data=as_bytes(cv2.imencode(".jpg", image)[1])), stamp, frame_id)


def odometry_message(stamp: int, x: float = 0.0) -> Odometry:
    message = Odometry(child_frame_id="base_link")
    message.pose.pose.position.x = x
    message.pose.pose.orientation.w = 1.0
    return stamped(message, stamp, "odom")


def stamped(message: Any, stamp: int, frame_id: str) -> Any:
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, SECOND)
    return message


class Rig:
    """A LiDAR, a raw camera ``front`` (reliable), a JPEG camera ``side`` (best effort) and odometry on one node, and
    what the segmenter publishes."""

    def __init__(self) -> None:
        self._context = Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = node = Node("rig", context=self._context, use_global_arguments=False)
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.publishers = {
            "odom": node.create_publisher(Odometry, "/odom", 100),
            "front": node.create_publisher(Image, "/front/image", 100),
            "side": node.create_publisher(CompressedImage, "/side/image", best_effort),
            "points": node.create_publisher(PointCloud2, "/points", 100),
            "clock": node.create_publisher(Clock, "/clock", 10),
        }
        self.labels: dict[int, PointCloud2] = {}
        self.now = START_NS
        self.diagnostics: dict[str, Any] = {}
        self.diagnostics_count = 0
        self._labels = node.create_subscription(PointCloud2, "/segmentation/labels", self._take_labels, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 50)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self.points = random_points(500)
        self.image = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)

    def _take_labels(self, msg: PointCloud2) -> None:
        self.labels[stamp_ns(msg.header)] = msg

    def _take_diagnostics(self, msg: DiagnosticArray) -> None:
        found = read_diagnostics(msg)
        if found:  # other nodes publish on this topic, too
            self.diagnostics = found
            self.diagnostics_count += 1

    def wait_for_segmenter(self, timeout: float = 90.0, cameras: Sequence[str] = ("front", "side")) -> None:
        """Until the segmenter's inputs and its labels are connected; other nodes that subscribe do not count."""

        def connected(topic: str) -> bool:
            return any(each.node_name == "segmenter" for each in self.node.get_subscriptions_info_by_topic(topic))

        topics = [self.publishers[name].topic_name for name in ("odom", *cameras, "points")]
        until(lambda: all(map(connected, topics)), timeout, "the segmenter's inputs")
        until(self._labels.get_publisher_count, timeout, "the segmenter's labels")
        time.sleep(0.3)  # what is found here is not yet found there

    def answers(self, **arguments: Any) -> bool:
        """Whether the labels of a sweep come within 3 s. The first messages after discovery may be lost."""
        stamp = self.tick()
        self.send(stamp, **arguments)
        deadline = time.monotonic() + 3.0
        while stamp not in self.labels and time.monotonic() < deadline:
            time.sleep(0.02)
        return stamp in self.labels

    def send(self, stamp: int, cameras: Sequence[str] = ("front", "side"), points: Any = None) -> None:
        """One sweep with its images and pose. points: an array, or a whole message."""
        self.publishers["odom"].publish(odometry_message(stamp, x=(stamp - START_NS) / SECOND))
        if "front" in cameras:
            self.publishers["front"].publish(image_message(stamp, self.image, "front_optical"))
        if "side" in cameras:
            self.publishers["side"].publish(jpeg_message(stamp, self.image, "side_optical"))
        if not isinstance(points, PointCloud2):
            points = cloud_message(stamp, self.points if points is None else points)
        self.publishers["points"].publish(points)

    def send_clock(self, stamp: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp, SECOND)
        self.publishers["clock"].publish(message)

    def tick(self, seconds: float = 0.1) -> int:
        """The next stamp."""
        self.now += round(seconds * SECOND)
        return self.now

    def ask(self, stamp: int | None = None, timeout: float = 10.0, **arguments: Any) -> PointCloud2:
        """Sends a sweep and waits for its labels."""
        stamp = self.tick() if stamp is None else stamp
        self.labels.pop(stamp, None)
        self.send(stamp, **arguments)
        until(lambda: stamp in self.labels, timeout, f"labels of {stamp}")
        return self.labels[stamp]

    def report(self) -> dict[str, Any]:
        """Diagnostics that are newer than the call."""
        count = self.diagnostics_count
        until(lambda: self.diagnostics_count >= count + 2, 10.0, "diagnostics")
        return self.diagnostics

    def dropped(self, reason: str) -> int:
        return self.report().get("dropped", {}).get(reason, 0)

    def call(self, kind: type, service: str, request: Any, timeout: float = 30.0) -> Any:
        """Calls a service of the segmenter."""
        client = self.node.create_client(kind, service)
        try:
            assert client.wait_for_service(timeout), service
            future = client.call_async(request)
            until(future.done, timeout, service)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)
