"""Cameras and a LiDAR that repeat one frame, to measure the segmenter under their load."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField

from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.messages import stamp_ns
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.segmenter.publishers import byte_array
from sam_adapt_ros.nodes.tools.background_node import BackgroundNode
from sam_adapt_ros.nodes.tools.recorder import DIAGNOSTICS, LABELS

START_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 10.0
SPEED = 5.0  # m/s


class SyntheticSensors(BackgroundNode):
    """Publishes sweeps (``/points``), images (``/<camera>/image``) and odometry; receives labels and diagnostics.

    The odometry drives straight ahead, and every second sweep begins one point later, so that an adapter
    takes each frame for one of another place, and none for that of a LiDAR that has frozen.

    ages_ms: age of the labels when they arrived, since their sweep's stamp.
    """

    name = "synthetic_sensors"

    def __init__(self, points: NDArray[np.floating], images: Mapping[str, NDArray[np.uint8]]) -> None:
        """points: (N, 3) metres. images: by camera, (H, W, 3) BGR, or (B,) the bytes of a JPEG."""
        fields = [PointField(name=name, offset=4 * place, datatype=7, count=1) for place, name in enumerate("xyz")]
        size = 12 * len(points)
        self._sweep = PointCloud2(height=1, width=len(points), fields=fields, point_step=12, row_step=size)
        self._sweep.header.frame_id = "lidar"
        self._sweeps = [byte_array(np.roll(points, -first, axis=0).astype("<f4")) for first in range(2)]
        self._images = {name: _image_message(name, image) for name, image in images.items()}
        self._pose = Odometry(child_frame_id="base_link")
        self._pose.header.frame_id = "odom"
        self._pose.pose.pose.orientation.w = 1.0
        self.ages_ms: list[float] = []
        self._diagnostics: dict[str, Any] = {}

    def wait_for(self, *nodes: str) -> None:
        """Blocks until each of the nodes has subscribed to everything. Raises TimeoutError."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for node in nodes:
            while not all(self._subscribes(node, publisher.topic_name) for publisher, _ in self._outputs):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the {node} has not subscribed within {START_TIMEOUT_S:g} s")
                time.sleep(0.1)
        time.sleep(0.5)

    def drive(
        self, frames: int, rate: float, warm_up: int, before: Callable[[int], None] = lambda frame: None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Publishes frames at ``rate`` Hz; returns the last diagnostics, and those after ``warm_up`` frames.

        before: called with the number of each frame before it is published.
        """
        warm: dict[str, Any] = {}
        start = time.monotonic()
        for frame in range(frames):
            before(frame)
            time.sleep(max(0.0, start + frame / rate - time.monotonic()))
            if frame == warm_up:
                warm = self._diagnostics
            self._pose.pose.pose.position.x = SPEED * frame / rate
            self._sweep.data = self._sweeps[frame % len(self._sweeps)]
            stamp = divmod(time.time_ns(), SECOND)
            for publisher, message in self._outputs:
                message.header.stamp.sec, message.header.stamp.nanosec = stamp
                publisher.publish(message)
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while len(self.ages_ms) < frames and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2.0)  # until diagnostics cover the last frame
        return self._diagnostics, warm

    def _connect(self, node: Node) -> None:
        self._outputs = [
            (node.create_publisher(Odometry, "/odom", 10), self._pose),
            *(
                (node.create_publisher(type(image), f"/{name}/image", 10), image)
                for name, image in self._images.items()
            ),
            (node.create_publisher(PointCloud2, "/points", 10), self._sweep),
        ]
        node.create_subscription(PointCloud2, LABELS, self._take_labels, 10)
        node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._take_diagnostics, 10)

    def _subscribes(self, node: str, topic: str) -> bool:
        return any(each.node_name == node for each in self._node.get_subscriptions_info_by_topic(topic))

    def _take_labels(self, msg: PointCloud2) -> None:
        self.ages_ms.append((time.time_ns() - stamp_ns(msg.header)) * 1e-6)

    def _take_diagnostics(self, msg: DiagnosticArray) -> None:
        self._diagnostics = read_diagnostics(msg) or self._diagnostics


def _image_message(frame_id: str, image: NDArray[np.uint8]) -> Image | CompressedImage:
    message: Image | CompressedImage
    if image.ndim == 1:
        message = CompressedImage(format="jpeg", data=byte_array(image))
    else:
        height, width, _ = image.shape
        message = Image(height=height, width=width, encoding="bgr8", step=3 * width, data=byte_array(image))
    message.header.frame_id = frame_id
    return message
