"""Where the sensors are and how the vehicle moves: from TF, or from a calibration file and odometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nav_msgs.msg import Odometry

from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import Calibration, FrameAssembler, feed_odometry, feed_tf
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.subscriptions import TopicSubscription

if TYPE_CHECKING:
    from rclpy.node import Node

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # it is not on PyPI: calibration file and odometry stand in
    TFMessage = None

TF_DEPTH = 200


class TransformListener:
    """Feeds the assembler's transform tree.

    With ``tf2_msgs``: ``/tf`` and ``/tf_static``. Without, or when ``transforms.calibration_file`` is given: that file,
    and the odometry topic. on_transform: called after each message.
    Raises CalibrationError when the file does not fit.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        assembler: FrameAssembler,
        statistics: StreamStatistics,
        on_transform: Callable[[], None],
    ) -> None:
        self._tree, self._on_transform = assembler.tree, on_transform
        transforms = config.transforms
        self.topics: list[TopicSubscription] = []
        self._calibrated = bool(transforms.calibration_file)
        if TFMessage is not None:
            for topic, take in (("/tf", self._take_tf), ("/tf_static", self._take_tf_static)):
                self.topics.append(TopicSubscription(node, topic, [TFMessage], take, statistics, depth=TF_DEPTH))
        if self._calibrated:
            path = Path(transforms.calibration_file)
            assembler.set_calibration(Calibration.load(path))
            node.get_logger().info(f"the sensors' calibration is read from {path}")
        if transforms.odometry_topic and (TFMessage is None or self._calibrated):
            topic, parameter = transforms.odometry_topic, "transforms.odometry_topic"
            self.topics.append(
                TopicSubscription(node, topic, [Odometry], self._take_odometry, statistics, parameter, depth=TF_DEPTH)
            )
        self._odometry_topic = transforms.odometry_topic

    @property
    def waiting_for(self) -> list[str]:
        """What is still missing, in words."""
        if self._calibrated:
            return [t.waiting_for for t in self.topics if t.topic == self._odometry_topic and t.waiting_for]
        if TFMessage is None:
            return ["calibration (tf2_msgs is not installed: set transforms.calibration_file)"]
        return [] if any(topic.received for topic in self.topics) else ["the first transform on /tf or /tf_static"]

    def _take_tf(self, msg: Any) -> None:
        feed_tf(self._tree, msg, static=False)
        self._on_transform()

    def _take_tf_static(self, msg: Any) -> None:
        feed_tf(self._tree, msg, static=True)
        self._on_transform()

    def _take_odometry(self, msg: Odometry) -> None:
        feed_odometry(self._tree, msg)
        self._on_transform()
