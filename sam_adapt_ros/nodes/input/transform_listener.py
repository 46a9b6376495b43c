"""Where the sensors are and how the vehicle moves: from TF, or from a calibration file and odometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nav_msgs.msg import Odometry

from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import Calibration, FrameAssembler, feed_odometry, feed_tf
from sam_adapt_ros.nodes.input.subscriptions import TopicFilter

if TYPE_CHECKING:
    from rclpy.node import Node

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # its wheels do not exist: calibration file and odometry stand in
    TFMessage = None

TF_DEPTH = 200


class Extrinsics:
    """Feeds the assembler's transform tree.

    With ``tf2_msgs``: ``/tf`` and ``/tf_static``. Without, or when ``transforms.calibration_file`` is given: that file,
    and the odometry topic. on_pose: called after each message.
    Raises CalibrationError when the file does not fit.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        assembler: FrameAssembler,
        on_pose: Callable[[], None],
        on_error: Callable[[str, Exception], None],
    ) -> None:
        self._tree, self._on_pose = assembler.tree, on_pose
        self._transforms = config.transforms
        self.topics: list[TopicFilter] = []
        self._calibrated = False
        if TFMessage is not None:
            for topic, static in (("/tf", False), ("/tf_static", True)):
                tf = TopicFilter(node, topic, [TFMessage], on_error, depth=TF_DEPTH)
                tf.registerCallback(self._take_tf, static)
                self.topics.append(tf)
        if self._transforms.calibration_file:
            path = Path(self._transforms.calibration_file).expanduser()
            assembler.set_calibration(Calibration.load(path))
            node.get_logger().info(f"calibration: {path}")
            self._calibrated = True
        if self._transforms.odometry_topic and (TFMessage is None or self._calibrated):
            odometry = TopicFilter(node, self._transforms.odometry_topic, [Odometry], on_error, depth=TF_DEPTH)
            odometry.registerCallback(self._take_odometry)
            self.topics.append(odometry)

    @property
    def waiting_for(self) -> list[str]:
        """What is still missing, in words."""
        if self._calibrated:
            return [topic.waiting_for for topic in self.topics if topic.topic == self._transforms.odometry_topic]
        if TFMessage is None:
            return ["calibration (no tf2_msgs here: set transforms.calibration_file)"]
        return [] if any(topic.received for topic in self.topics) else ["the first transform on /tf or /tf_static"]

    def _take_tf(self, msg: Any, static: bool) -> None:
        feed_tf(self._tree, msg, static)
        self._on_pose()

    def _take_odometry(self, msg: Any) -> None:
        feed_odometry(self._tree, msg)
        self._on_pose()
