"""From topics to synchronized sweeps: inputs -> synchronizer -> poses -> worker -> whoever works on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import CalibrationError, MessageError, SamAdaptError
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages import AssembledFrame, FrameAssembler, Match
from sam_adapt_ros.nodes.diagnostics.stream_statistics import Statistics
from sam_adapt_ros.nodes.input.calibration_wait import Gate
from sam_adapt_ros.nodes.input.deadline_timer import DeadlineTimer
from sam_adapt_ros.nodes.input.subscriptions import TopicFilter
from sam_adapt_ros.nodes.input.synchronizer import LidarSynchronizer
from sam_adapt_ros.nodes.input.transform_listener import Extrinsics
from sam_adapt_ros.nodes.input.work_queue import Worker
from sam_adapt_ros.nodes.throttled_logger import Complaints

if TYPE_CHECKING:
    from rclpy.node import Node


@dataclass(frozen=True, eq=False)
class Task:
    """A sweep with all that belongs to it, ready since ``ready_ns`` (``time.monotonic_ns``).

    assemble: decodes the messages into a frame, in the thread that calls it; counts the cameras that are left out.
    Raises MessageError when the cloud is unusable.
    pose: ``T_odom_lidar`` at the sweep's stamp, as the frame will have it, without decoding anything.
    """

    match: Match
    ready_ns: int
    assemble: Callable[[], AssembledFrame]
    pose: Callable[[], Transform | None]


class FrameStream:
    """The sensors' topics, synchronized, one ``Task`` a sweep. Made to run at once, until it is closed.

    process: called with each task, in order, in a thread of the stream's own; everything else happens in the
        executor's. What it raises is counted as a drop, and the next task is served.
    statistics: where arrivals and drops are counted.
    Raises CalibrationError when the calibration file does not fit.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        process: Callable[[Task], None],
        statistics: Statistics,
        thread: str = "frames",
    ) -> None:
        """thread: name of the stream's own."""
        self._config, self._statistics = config, statistics
        self._complain = Complaints(node)
        self.assembler = FrameAssembler(config)
        self._extrinsics = Extrinsics(node, config, self.assembler, self._news, self._on_input_error)
        self._gate = Gate(self._incomplete, config.transforms.timeout)
        self._gate_timer = DeadlineTimer(node, self._poll_gate)
        self._gate.registerCallback(self._ready)
        self._lidar = TopicFilter(node, config.lidar.topic, [PointCloud2], self._on_input_error, self._on_lost)
        self._lidar.registerCallback(lambda _: statistics.arrived())
        self._images = {
            name: TopicFilter(node, camera.image, [Image, CompressedImage], self._on_input_error, self._on_lost)
            for name, camera in config.cameras.items()
        }
        self._infos = {
            name: TopicFilter(node, camera.info, [CameraInfo], self._on_input_error)
            for name, camera in config.cameras.items()
            if camera.info
        }
        for name, info in self._infos.items():
            info.registerCallback(partial(self._take_info, name))
        self._synchronizer = LidarSynchronizer(
            node,
            self._lidar,
            self._images,
            {name: camera.time_offset for name, camera in config.cameras.items()},
            config.sync,
            self._on_sync_drop,
        )
        self._synchronizer.registerCallback(self._matched)
        self._worker: Worker[Task] = Worker(
            process, config.segmenter.queue_size, self._on_worker_drop, self._on_worker_error, thread
        )
        self.follow()

    # In the executor's thread -----------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Subscribes to what has appeared since; call it now and then."""
        for topic in self._topics():
            topic.follow()

    @property
    def waiting_for(self) -> list[str]:
        """What has not come yet, in words."""
        sensors = (self._lidar, *self._images.values(), *self._infos.values())
        return [text for text in (*(s.waiting_for for s in sensors), *self._extrinsics.waiting_for) if text]

    @property
    def sync_counts(self) -> dict[str, int]:
        """What the synchronizer counts of sweeps and images."""
        return dict(self._synchronizer.counts)

    def reconfigure(self, config: Config) -> None:
        """Takes over what may change while running."""
        before, self._config = self._config, config
        self._worker.queue_size = config.segmenter.queue_size
        self._gate.timeout_s = config.transforms.timeout
        if config.sync != before.sync:
            self._synchronizer.reconfigure(config.sync)

    def close(self) -> None:
        """Ends the stream; what was under way is counted as dropped."""
        for topic in self._topics():
            topic.close()
        self._synchronizer.close()
        self._gate_timer.close()
        for _ in self._gate.clear():
            self._statistics.drop("stopped")
        self._worker.stop()

    def _topics(self) -> list[TopicFilter]:
        return [*self._extrinsics.topics, *self._infos.values(), *self._images.values(), self._lidar]

    def _take_info(self, camera: str, msg: CameraInfo) -> None:
        self.assembler.set_camera_info(camera, msg)
        if self._infos[camera].received == 1:
            self._news()

    def _matched(self, match: Match) -> None:
        self._gate.add(match, time.monotonic_ns())
        self._gate_timer.arm(self._gate.deadline())

    def _news(self) -> None:
        self._gate.news(time.monotonic_ns())
        self._gate_timer.arm(self._gate.deadline())

    def _poll_gate(self) -> None:
        self._gate.poll(time.monotonic_ns())
        self._gate_timer.arm(self._gate.deadline())

    def _incomplete(self, match: Match) -> bool:
        """Whether a CameraInfo or a pose that the match needs may yet come."""
        if any(name in self._infos and not self._infos[name].received for name in match.images):
            return True
        lidar_frame = match.sweep.msg.header.frame_id
        if not self.assembler.transforms_ready(match.stamp_ns, lidar_frame, match.images):
            return True
        try:
            self.assembler.tree.lookup(self._config.transforms.odometry_frame, lidar_frame, match.stamp_ns)
        except CalibrationError as error:
            return error.reason == "transform_missing"
        return False

    def _ready(self, match: Match) -> None:
        pose = partial(self.assembler.pose, match.sweep.msg.header.frame_id, match.stamp_ns)
        self._worker.put(Task(match, time.monotonic_ns(), partial(self._assemble, match), pose))

    # In the thread of who asks ----------------------------------------------------------------------------------------

    def _assemble(self, match: Match) -> AssembledFrame:
        sweep = match.sweep.msg
        assembled = self.assembler.assemble(match.stamp_ns, sweep.header.frame_id, sweep, match.images)
        self._note_cameras(match, assembled)
        return assembled

    def _note_cameras(self, match: Match, assembled: AssembledFrame) -> None:
        for camera in match.missing:
            self._statistics.drop_image(camera, "no_image")
        for camera, reason in assembled.dropped.items():
            self._statistics.drop_image(camera, reason)
            self._complain(f"{camera}: image not used: {reason}", f": {assembled.details.get(camera, '')}")
        for camera, warning in assembled.warnings.items():
            self._statistics.warn(f"{camera}.{warning}")

    # What goes wrong --------------------------------------------------------------------------------------------------

    def _on_sync_drop(self, reason: str, stamp_ns: int) -> None:
        self._statistics.drop(reason)
        self._complain(f"sweep dropped: {reason}", f" (stamp {stamp_ns * 1e-9:.3f})")

    def _on_worker_drop(self, task: Task, reason: str) -> None:
        self._statistics.drop(reason)
        self._complain(f"sweep dropped: {reason}", f" (stamp {task.match.stamp_ns * 1e-9:.3f})")

    def _on_worker_error(self, task: Task, error: Exception) -> None:
        reason = error.reason if isinstance(error, MessageError) else "internal_error"
        self._statistics.drop(reason)
        details = f": {error}" if isinstance(error, SamAdaptError) else f": {type(error).__name__}: {error}"
        self._complain(f"sweep dropped: {reason}", details)

    def _on_input_error(self, topic: str, error: Exception) -> None:
        reason = getattr(error, "reason", type(error).__name__)
        self._statistics.warn(f"{topic.strip('/').replace('/', '_')}_{reason}")
        self._complain(f"{topic}: message not used: {reason}", f": {error}")

    def _on_lost(self, topic: str, count: int) -> None:
        """The middleware gave up messages: they came faster than they were read, or incomplete."""
        for _ in range(count):
            if topic == self._lidar.topic:
                self._statistics.arrived()
                self._statistics.drop("message_lost")
            else:
                self._statistics.warn(f"{topic.strip('/').replace('/', '_')}_message_lost")
        self._complain(f"{topic}: messages lost by the middleware", f": {count}")
