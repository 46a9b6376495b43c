"""Arrays and transforms -> the ROS messages of a bag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_adapt_ros.bags.message_writer import MessageWriter
from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.geometry.transforms import Transform, quaternion_from_matrix
from sam_adapt_ros.messages.point_cloud import CloudData, encode_labels


class BagWriter(MessageWriter):
    """A ``MessageWriter`` that also makes the messages.

    In all methods ``stamp_ns`` is the header's stamp and the log time; ``frame_id`` is the header's frame.
    """

    def write_cloud(self, topic: str, stamp_ns: int, frame_id: str, cloud: CloudData) -> None:
        """A sensor_msgs/PointCloud2 of one row."""
        message = self._make(
            "sensor_msgs/PointCloud2",
            header=self.header(stamp_ns, frame_id),
            height=1,
            width=cloud.width,
            fields=[self._make("sensor_msgs/PointField", *spec) for spec in cloud.fields],
            is_bigendian=False,
            point_step=cloud.point_step,
            row_step=cloud.point_step * cloud.width,
            data=cloud.data,
            is_dense=True,
        )
        self.write(topic, message, stamp_ns)

    def write_labels(
        self,
        topic: str,
        stamp_ns: int,
        frame_id: str,
        points: NDArray[np.float32],
        class_id: NDArray[np.integer],
        probability: ArrayLike,
        colors: NDArray[np.uint8],
        instances: NDArray[np.uint16] | None = None,
    ) -> None:
        """A label cloud; the arguments from ``points`` on are those of ``encode_labels``."""
        self.write_cloud(topic, stamp_ns, frame_id, encode_labels(points, class_id, probability, colors, instances))

    def write_image_bytes(
        self, topic: str, stamp_ns: int, frame_id: str, data: bytes | NDArray[np.uint8], format: str
    ) -> None:
        """A sensor_msgs/CompressedImage with the encoded bytes as they are. format: ``jpeg`` or ``png``."""
        content = np.frombuffer(data, np.uint8)
        message = self._make("sensor_msgs/CompressedImage", self.header(stamp_ns, frame_id), format, content)
        self.write(topic, message, stamp_ns)

    def write_camera_info(self, topic: str, stamp_ns: int, frame_id: str, camera: CameraModel) -> None:
        """A sensor_msgs/CameraInfo of a monocular camera: R is the identity, P is ``[K | 0]``.

        A camera without distortion is ``plumb_bob`` with zero coefficients, which every subscriber takes.
        """
        undistorted = camera.distortion is Distortion.NONE
        message = self._make(
            "sensor_msgs/CameraInfo",
            header=self.header(stamp_ns, frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model=Distortion.PLUMB_BOB.value if undistorted else camera.distortion.value,
            d=np.zeros(5) if undistorted else np.array(camera.D),
            k=camera.K.reshape(9),
            r=np.eye(3).reshape(9),
            p=np.hstack([camera.K, np.zeros((3, 1))]).reshape(12),
            binning_x=0,
            binning_y=0,
            roi=self._make("sensor_msgs/RegionOfInterest", 0, 0, 0, 0, False),
        )
        self.write(topic, message, stamp_ns)

    def write_tf(self, stamp_ns: int, transforms: Iterable[tuple[str, str, Transform]]) -> None:
        """A tf2_msgs/TFMessage on ``/tf``.

        transforms: (parent, child, ``T_parent_child`` (4, 4)), which hold at ``stamp_ns``.
        """
        self.write("/tf", self._tf(stamp_ns, transforms), stamp_ns)

    def write_tf_static(self, stamp_ns: int, transforms: Iterable[tuple[str, str, Transform]]) -> None:
        """As ``write_tf``, of transforms that never change, on the transient-local ``/tf_static``."""
        self.write("/tf_static", self._tf(stamp_ns, transforms), stamp_ns, transient_local=True)

    def write_odometry(
        self,
        topic: str,
        stamp_ns: int,
        frame_id: str,
        child_frame_id: str,
        T: Transform,
        linear: Sequence[float] = (0.0, 0.0, 0.0),
        angular: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        """A nav_msgs/Odometry.

        T: (4, 4) ``T_frame_child``. linear [m/s], angular [rad/s]: (3,) velocities in the child frame.
        """
        position = self._make("geometry_msgs/Point", *map(float, T[:3, 3]))
        pose = self._make("geometry_msgs/Pose", position, self._quaternion(T))
        twist = self._make("geometry_msgs/Twist", self._vector(linear), self._vector(angular))
        message = self._make(
            "nav_msgs/Odometry",
            header=self.header(stamp_ns, frame_id),
            child_frame_id=child_frame_id,
            pose=self._make("geometry_msgs/PoseWithCovariance", pose, np.zeros(36)),
            twist=self._make("geometry_msgs/TwistWithCovariance", twist, np.zeros(36)),
        )
        self.write(topic, message, stamp_ns)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """A std_msgs/Header."""
        return self._make(
            "std_msgs/Header", self._make("builtin_interfaces/Time", *divmod(int(stamp_ns), SECOND)), frame_id
        )

    def _tf(self, stamp_ns: int, transforms: Iterable[tuple[str, str, Transform]]) -> Any:
        stamped = [
            self._make(
                "geometry_msgs/TransformStamped",
                self.header(stamp_ns, parent),
                child,
                self._make("geometry_msgs/Transform", self._vector(T[:3, 3]), self._quaternion(T)),
            )
            for parent, child, T in transforms
        ]
        return self._make("tf2_msgs/TFMessage", stamped)

    def _vector(self, values: Iterable[float]) -> Any:
        return self._make("geometry_msgs/Vector3", *map(float, values))

    def _quaternion(self, T: Transform) -> Any:
        return self._make("geometry_msgs/Quaternion", *quaternion_from_matrix(T))

    def _make(self, name: str, *values: Any, **fields: Any) -> Any:
        package, kind = name.split("/")
        return self.types[f"{package}/msg/{kind}"](*values, **fields)
