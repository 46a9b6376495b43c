"""The sensors' subscriptions and their synchronizer, connected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.frame_decoder import FrameDecoder
from sam_adapt_ros.nodes.input.subscriptions import TopicSubscription
from sam_adapt_ros.nodes.input.synchronizer import SensorSynchronizer, SynchronizedSweep
from sam_adapt_ros.nodes.input.transform_listener import TransformListener
from sam_adapt_ros.nodes.throttled_logger import ThrottledLogger
from sam_adapt_ros.nodes.timers import steady_timer

if TYPE_CHECKING:
    from rclpy.node import Node

UPDATE_PERIOD_S = 0.1
SILENCE_S = 5.0
"""After so long without a sweep it is said that none come: everything else waits for them."""


class FrameStream:
    """The sensors' topics, synchronized: ``output`` is called with each sweep, in the executor's thread. Runs until it
    is closed.

    others: further subscriptions that the node needs; they are updated, waited for and closed with the sensors'.
    Raises CalibrationError when the calibration file does not fit.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        decoder: FrameDecoder,
        output: Callable[[SynchronizedSweep], None],
        statistics: StreamStatistics,
        others: Sequence[TopicSubscription] = (),
    ) -> None:
        self._node, self._decoder, self._statistics = node, decoder, statistics
        self._log = ThrottledLogger(node.get_logger())
        self._was_waiting = True
        self._synchronizer = SensorSynchronizer(node, config, decoder.lacking, output, statistics)
        self._transforms = TransformListener(
            node, config, decoder.assembler, statistics, self._synchronizer.calibration_changed
        )
        self._sensors = [
            TopicSubscription(
                node,
                config.lidar.topic,
                [PointCloud2],
                self._synchronizer.add_sweep,
                statistics,
                "lidar.topic",
                on_lost=self._sweeps_lost,
                silence_s=SILENCE_S,
            )
        ]
        for name, camera in config.cameras.items():
            add_image = partial(self._synchronizer.add_image, name)
            types, parameter = [Image, CompressedImage], f"cameras.{name}.image"
            self._sensors.append(TopicSubscription(node, camera.image, types, add_image, statistics, parameter))
            if camera.info:
                set_info, parameter = partial(self._set_camera_info, name), f"cameras.{name}.info"
                self._sensors.append(
                    TopicSubscription(node, camera.info, [CameraInfo], set_info, statistics, parameter)
                )
        self._others = list(others)
        self._timer = steady_timer(node, UPDATE_PERIOD_S, self._update)
        self._update()

    @property
    def waiting_for(self) -> list[str]:
        """What has not come yet, in words."""
        topics = [topic.waiting_for for topic in (*self._sensors, *self._others)]
        return [text for text in (*topics, *self._transforms.waiting_for) if text]

    @property
    def sync_counts(self) -> dict[str, int]:
        """What the synchronizer counts of sweeps and images."""
        return dict(self._synchronizer.counts)

    def reconfigure(self, config: Config) -> None:
        """Applies the settings that may change while running."""
        self._synchronizer.reconfigure(config)

    def close(self) -> None:
        """Ends the stream; sweeps that cannot continue are counted as dropped."""
        self._node.destroy_timer(self._timer)
        for topic in self._topics:
            topic.close()
        self._synchronizer.close()

    @property
    def _topics(self) -> list[TopicSubscription]:
        """Calibration first: sweeps wait for it."""
        return [*self._transforms.topics, *reversed(self._sensors), *self._others]

    def _update(self) -> None:
        for topic in self._topics:
            topic.update()
        waiting = "; ".join(self.waiting_for)
        if waiting:
            self._log.info(f"waiting for {waiting}; compare with `ros2 topic list -t`")
        elif self._was_waiting:
            self._node.get_logger().info("all inputs are received")
        self._was_waiting = bool(waiting)

    def _set_camera_info(self, camera: str, msg: CameraInfo) -> None:
        self._decoder.set_camera_info(camera, msg)
        self._synchronizer.calibration_changed()

    def _sweeps_lost(self, count: int) -> None:
        for _ in range(count):
            self._statistics.arrived()
            self._statistics.drop("message_lost")
