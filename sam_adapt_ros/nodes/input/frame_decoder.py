"""What is known of calibration and poses, and the frames that are decoded with it."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from sam_adapt_ros.config import Config
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
        self._lacking_infos = {name for name, camera in config.cameras.items() if camera.info}

    def set_camera_info(self, camera: str, msg: CameraInfo) -> None:
        self.assembler.set_camera_info(camera, msg)
        self._lacking_infos.discard(camera)

    def lacking(self, match: Match) -> set[str]:
        """Names of what the match needs, a CameraInfo or a pose, and that may yet come."""
        infos = {f"CameraInfo of {camera}" for camera in self._lacking_infos.intersection(match.images)}
        return infos | self.assembler.awaited(match.stamp_ns, match.sweep.cloud.header.frame_id, match.images)

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
        for name, reason in assembled.warnings.items():
            if name in sweep.images:
                self._statistics.warn_image(name, reason, assembled.details.get(name, ""))
            else:
                self._statistics.warn(f"{name}.{reason}")
        return assembled.frame
