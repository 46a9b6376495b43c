"""Where the sensors are and how the vehicle moves: from TF, or from a calibration file and odometry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nav_msgs.msg import Odometry

from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import TF_TOPICS, TF_TYPE, Calibration, FrameAssembler, transform_topics
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics, token
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

    With ``tf2_msgs``: ``/tf`` and ``/tf_static``, or those of the LiDAR's namespace. A calibration file, where
    ``transforms.calibration_file`` names one. Odometry, of which is used what TF does not tell.
    on_transform: called after each message.
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
        self._node, self._feed, self._on_transform = node, assembler.transforms, on_transform
        self._statistics = statistics
        transforms = config.transforms
        self._calibrated = bool(transforms.calibration_file)
        self._tf: list[TopicSubscription] = []
        if TFMessage is not None:
            lidar = node.resolve_topic_name(config.lidar.topic)
            for name, static in TF_TOPICS.items():
                nearer: list[TopicSubscription] = []
                for topic in transform_topics(name, lidar):
                    take = partial(self._take_tf, topic, static, tuple(nearer))
                    nearer.append(TopicSubscription(node, topic, [TFMessage], take, statistics, depth=TF_DEPTH))
                self._tf += nearer
        if self._calibrated:
            path = Path(transforms.calibration_file)
            assembler.set_calibration(Calibration.load(path))
            node.get_logger().info(f"the sensors' calibration is read from {path}")
        self._odometry: list[TopicSubscription] = []
        self._odometry_topic = transforms.odometry_topic
        if self._odometry_topic:
            parameter = "transforms.odometry_topic"
            self._odometry.append(
                TopicSubscription(
                    node, self._odometry_topic, [Odometry], self._take_odometry, statistics, parameter, depth=TF_DEPTH
                )
            )

    @property
    def topics(self) -> list[TopicSubscription]:
        return [*self._tf, *self._odometry]

    @property
    def waiting_for(self) -> list[str]:
        """What is still missing, in words."""
        if self._calibrated:
            return [topic.waiting_for for topic in self._odometry if topic.waiting_for]
        if TFMessage is None:
            return ["calibration (tf2_msgs is not installed: set transforms.calibration_file)"]
        if any(topic.received for topic in self._tf):
            return []
        others = self._other_tf_topics()
        hint = f"; there is {', '.join(others)}: remap /tf and /tf_static" if others else ""
        return [f"the first transform on {' or '.join(topic.topic for topic in self._tf)}{hint}"]

    def _other_tf_topics(self) -> list[str]:
        """Topics with transforms that are not listened to, such as ``/robot1/tf``."""
        listened = {topic.topic for topic in self._tf}
        topics = self._node.get_topic_names_and_types()
        return sorted(name for name, types in topics if TF_TYPE in types and name not in listened)

    def _take_tf(self, topic: str, static: bool, nearer: Sequence[TopicSubscription], msg: Any) -> None:
        """nearer: topics in the LiDAR's namespace, which are this vehicle's where they are published."""
        if not any(other.received for other in nearer):
            self._taken(topic, self._feed.tf(msg, static, topic))

    def _take_odometry(self, msg: Odometry) -> None:
        self._taken(self._odometry_topic, self._feed.odometry(msg, self._odometry_topic))

    def _taken(self, topic: str, unusable: int) -> None:
        for _ in range(unusable):
            self._statistics.warn(f"{token(topic)}_transform")
        self._on_transform()
