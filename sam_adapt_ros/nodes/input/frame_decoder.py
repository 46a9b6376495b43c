"""What is known of calibration and poses, and the frames that are decoded with it."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages import FrameAssembler, Match
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.synchronizer import SynchronizedSweep


class FrameDecoder:
    """Decodes synchronized sweeps into frames.

    assembler: holds the calibration; ``TransformListener`` feeds its transforms, ``set_camera_info`` its intrinsics.
    ``decode`` and ``pose`` may be called from another thread than the executor's.
    """

    def __init__(self, config: Config, statistics: StreamStatistics) -> None:
        self.assembler = FrameAssembler(config, notices=statistics.notices)
        self._statistics = statistics
        self._odometry_frame = config.transforms.odometry_frame
        self._lacking_infos = {name for name, camera in config.cameras.items() if camera.info}

    def set_camera_info(self, camera: str, msg: CameraInfo) -> None:
        self.assembler.set_camera_info(camera, msg)
        self._lacking_infos.discard(camera)

    def incomplete(self, match: Match) -> bool:
        """Whether a CameraInfo or a pose that the match needs may yet come."""
        lidar_frame = match.sweep.cloud.header.frame_id
        if not self._lacking_infos.isdisjoint(match.images):
            return True
        if not self.assembler.transforms_ready(match.stamp_ns, lidar_frame, match.images):
            return True
        try:
            self.assembler.tree.lookup(self._odometry_frame, lidar_frame, match.stamp_ns)
        except CalibrationError as error:
            return error.reason == "transform_missing"
        return False

    def pose(self, sweep: SynchronizedSweep) -> Transform | None:
        """``T_odom_lidar`` at the sweep's stamp, as the frame will have it, without decoding anything."""
        return self.assembler.pose(sweep.cloud.header.frame_id, sweep.stamp_ns)

    def decode(self, sweep: SynchronizedSweep) -> Frame:
        """Decodes the messages, and counts the cameras that are left out.

        Raises MessageError when the cloud is unusable.
        """
        assembled = self.assembler.assemble(sweep.stamp_ns, sweep.cloud.header.frame_id, sweep.cloud, sweep.images)
        for camera in sweep.missing:
            self._statistics.drop_image(camera, "no_image")
        for camera, reason in assembled.dropped.items():
            self._statistics.drop_image(camera, reason, assembled.details.get(camera, ""))
        for camera, reason in assembled.warnings.items():
            self._statistics.warn_image(camera, reason, assembled.details.get(camera, ""))
        return assembled.frame
