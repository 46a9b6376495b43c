"""Arrays -> rosbags' ROS 2 messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.transforms import quaternion_from_matrix
from sam_adapt_ros.messages.point_cloud import CloudData

Transform = tuple[str, str, NDArray[np.float64]]
"""Parent frame, child frame, (4, 4) ``T_parent_child``."""


class MessageFactory:
    """Builds messages of one typestore.

    types: message classes by name, ``sensor_msgs/msg/Image`` and so on.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.types = types

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """A std_msgs/Header."""
        header_type, time_type = self._classes("std_msgs/msg/Header", "builtin_interfaces/msg/Time")
        return header_type(time_type(*divmod(int(stamp_ns), 1_000_000_000)), frame_id)

    def cloud(self, stamp_ns: int, frame_id: str, cloud: CloudData) -> Any:
        """A sensor_msgs/PointCloud2 of one row."""
        field_type, cloud_type = self._classes("sensor_msgs/msg/PointField", "sensor_msgs/msg/PointCloud2")
        return cloud_type(
            header=self.header(stamp_ns, frame_id),
            height=1,
            width=cloud.width,
            fields=[field_type(*spec) for spec in cloud.fields],
            is_bigendian=False,
            point_step=cloud.point_step,
            row_step=cloud.point_step * cloud.width,
            data=cloud.data,
            is_dense=True,
        )

    def compressed_image(self, stamp_ns: int, frame_id: str, data: bytes | NDArray[np.uint8], format: str) -> Any:
        """A sensor_msgs/CompressedImage with the encoded bytes as they are."""
        (image_type,) = self._classes("sensor_msgs/msg/CompressedImage")
        content = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data, np.uint8).reshape(-1)
        return image_type(self.header(stamp_ns, frame_id), format, content)

    def image(self, stamp_ns: int, frame_id: str, image: NDArray[Any], encoding: str) -> Any:
        """A sensor_msgs/Image. image: (H, W) or (H, W, C) of the encoding's own type."""
        (image_type,) = self._classes("sensor_msgs/msg/Image")
        image = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
        return image_type(
            header=self.header(stamp_ns, frame_id),
            height=image.shape[0],
            width=image.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=image.nbytes // max(image.shape[0], 1),
            data=image.view(np.uint8).reshape(-1),
        )

    def camera_info(
        self, stamp_ns: int, frame_id: str, camera: CameraModel, R: ArrayLike | None, P: ArrayLike | None
    ) -> Any:
        """A sensor_msgs/CameraInfo. R: (3, 3), identity by default; P: (3, 4), ``[K | 0]`` by default.

        An image without distortion is ``plumb_bob`` with zero coefficients, which every consumer takes.
        """
        info_type, roi_type = self._classes("sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/RegionOfInterest")
        plain = camera.distortion is Distortion.NONE
        return info_type(
            header=self.header(stamp_ns, frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model=Distortion.PLUMB_BOB.value if plain else camera.distortion.value,
            d=np.zeros(5) if plain else np.array(camera.D, np.float64),
            k=np.array(camera.K, np.float64).reshape(9),
            r=np.asarray(np.eye(3) if R is None else R, np.float64).reshape(9),
            p=np.asarray(np.hstack([camera.K, np.zeros((3, 1))]) if P is None else P, np.float64).reshape(12),
            binning_x=0,
            binning_y=0,
            roi=roi_type(0, 0, 0, 0, False),
        )

    def transforms(self, stamp_ns: int, transforms: Iterable[Transform]) -> Any:
        """A tf2_msgs/TFMessage; every transform holds at ``stamp_ns``."""
        message_type, stamped_type, transform_type = self._classes(
            "tf2_msgs/msg/TFMessage", "geometry_msgs/msg/TransformStamped", "geometry_msgs/msg/Transform"
        )
        return message_type(
            [
                stamped_type(
                    self.header(stamp_ns, parent), child, transform_type(self._vector(T[:3, 3]), self._quaternion(T))
                )
                for parent, child, T in transforms
            ]
        )

    def odometry(
        self,
        stamp_ns: int,
        frame_id: str,
        child_frame_id: str,
        T: NDArray[np.float64],
        linear: Sequence[float],
        angular: Sequence[float],
    ) -> Any:
        """A nav_msgs/Odometry. T: (4, 4) ``T_frame_child``; velocities in the child frame, m/s and rad/s."""
        names = ("Point", "Pose", "PoseWithCovariance", "Twist", "TwistWithCovariance")
        point, pose, pose_covariance, twist, twist_covariance = self._classes(
            *(f"geometry_msgs/msg/{name}" for name in names)
        )
        (odometry_type,) = self._classes("nav_msgs/msg/Odometry")
        return odometry_type(
            header=self.header(stamp_ns, frame_id),
            child_frame_id=child_frame_id,
            pose=pose_covariance(pose(point(*map(float, T[:3, 3])), self._quaternion(T)), np.zeros(36)),
            twist=twist_covariance(twist(self._vector(linear), self._vector(angular)), np.zeros(36)),
        )

    def _classes(self, *names: str) -> list[Any]:
        return [self.types[name] for name in names]

    def _vector(self, values: Iterable[float]) -> Any:
        return self.types["geometry_msgs/msg/Vector3"](*map(float, values))

    def _quaternion(self, T: NDArray[np.float64]) -> Any:
        return self.types["geometry_msgs/msg/Quaternion"](*quaternion_from_matrix(T))
