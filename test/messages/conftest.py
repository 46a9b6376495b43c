"""Messages of both kinds that reach the decoders: rclpy's classes and rosbags' classes."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np
import pytest


class RosbagsMessages:
    """Builds messages of rosbags' Jazzy type store."""

    def __init__(self) -> None:
        from rosbags.typesys import Stores, get_typestore

        self.types = get_typestore(Stores.ROS2_JAZZY).types

    def make(self, name: str, /, **values):
        package, kind = name.split("/")
        return self.types[f"{package}/msg/{kind}"](**values)

    def bytes(self, data):
        return np.frombuffer(bytes(data), np.uint8)

    def numbers(self, values):
        return np.array(values, np.float64)


class RclpyMessages:
    """Builds messages of the classes that rclpy delivers."""

    def __init__(self) -> None:
        import builtin_interfaces.msg
        import geometry_msgs.msg
        import nav_msgs.msg
        import sensor_msgs.msg
        import std_msgs.msg

        self.modules = {
            "builtin_interfaces": builtin_interfaces.msg,
            "geometry_msgs": geometry_msgs.msg,
            "nav_msgs": nav_msgs.msg,
            "sensor_msgs": sensor_msgs.msg,
            "std_msgs": std_msgs.msg,
        }

    def make(self, name: str, /, **values):
        package, kind = name.split("/")
        if package == "tf2_msgs":  # has no wheel; any object with the attributes will do
            return SimpleNamespace(**values)
        return getattr(self.modules[package], kind)(**values)

    def bytes(self, data):
        return array.array("B", bytes(data))

    def numbers(self, values):
        return array.array("d", values)


class Messages:
    """The messages the tests speak of, of either library."""

    def __init__(self, library) -> None:
        self.library = library
        self.make = library.make

    def header(self, stamp_ns=1_000_000_000, frame_id="lidar"):
        stamp = self.make("builtin_interfaces/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self.make("std_msgs/Header", stamp=stamp, frame_id=frame_id)

    def cloud(self, data, /, stamp_ns=1_000_000_000, frame_id="lidar", **changes):
        """changes: attributes that differ from what the CloudData says."""
        raw = changes.pop("data", data.data.tobytes())
        fields = changes.pop("fields", data.fields)
        values = {
            "height": 1,
            "width": data.width,
            "is_bigendian": False,
            "point_step": data.point_step,
            "row_step": data.width * data.point_step,
            "is_dense": False,
        } | changes
        specs = [
            self.make("sensor_msgs/PointField", name=name, offset=offset, datatype=datatype, count=count)
            for name, offset, datatype, count in fields
        ]
        header = self.header(stamp_ns, frame_id)
        return self.make("sensor_msgs/PointCloud2", header=header, fields=specs, data=self.library.bytes(raw), **values)

    def image(self, pixels, encoding, /, stamp_ns=1_000_000_000, frame_id="camera", **changes):
        """pixels: array of rows as they are sent."""
        raw = changes.pop("data", np.ascontiguousarray(pixels).tobytes())
        values = {
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "is_bigendian": 0,
            "step": pixels.strides[0] if pixels.flags.c_contiguous else pixels[0].nbytes,
        } | changes
        header = self.header(stamp_ns, frame_id)
        return self.make("sensor_msgs/Image", header=header, encoding=encoding, data=self.library.bytes(raw), **values)

    def compressed(self, data, image_format="jpeg", stamp_ns=1_000_000_000, frame_id="camera"):
        return self.make(
            "sensor_msgs/CompressedImage",
            header=self.header(stamp_ns, frame_id),
            format=image_format,
            data=self.library.bytes(data),
        )

    def info(self, width=64, height=48, k=None, d=(), model="plumb_bob", frame_id="camera", **changes):
        k = [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1] if k is None else k
        roi = dict.fromkeys(("x_offset", "y_offset", "width", "height"), 0) | changes.pop("roi", {})
        values = {
            "r": [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
            "p": [k[0], 0, k[2], 0, 0, k[4], k[5], 0, 0, 0, 1, 0],
            "binning_x": 0,
            "binning_y": 0,
        } | changes
        return self.make(
            "sensor_msgs/CameraInfo",
            header=self.header(1, frame_id),
            width=width,
            height=height,
            distortion_model=model,
            k=np.array(k, np.float64),
            d=self.library.numbers(d),
            r=np.array(values.pop("r"), np.float64),
            p=np.array(values.pop("p"), np.float64),
            roi=self.make("sensor_msgs/RegionOfInterest", do_rectify=False, **roi),
            **values,
        )

    def tf(self, *transforms):
        """transforms: (parent, child, stamp, translation, quaternion xyzw)."""
        return self.make(
            "tf2_msgs/TFMessage",
            transforms=[
                self.make(
                    "geometry_msgs/TransformStamped",
                    header=self.header(stamp, parent),
                    child_frame_id=child,
                    transform=self.make(
                        "geometry_msgs/Transform", translation=self._vector("Vector3", t), rotation=self._quaternion(q)
                    ),
                )
                for parent, child, stamp, t, q in transforms
            ],
        )

    def odometry(self, parent, child, stamp, t, q):
        pose = self.make("geometry_msgs/Pose", position=self._vector("Point", t), orientation=self._quaternion(q))
        zero = self._vector("Vector3", (0, 0, 0))
        twist = self.make("geometry_msgs/Twist", linear=zero, angular=zero)
        return self.make(
            "nav_msgs/Odometry",
            header=self.header(stamp, parent),
            child_frame_id=child,
            pose=self.make("geometry_msgs/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
            twist=self.make("geometry_msgs/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
        )

    def _vector(self, kind, values):
        return self.make(f"geometry_msgs/{kind}", **dict(zip("xyz", map(float, values), strict=True)))

    def _quaternion(self, values):
        return self.make("geometry_msgs/Quaternion", **dict(zip("xyzw", map(float, values), strict=True)))


@pytest.fixture(scope="session")
def rosbags_messages() -> Messages:
    return Messages(RosbagsMessages())


@pytest.fixture(scope="session", params=["rosbags", "rclpy"])
def ros(request) -> Messages:
    """The same test with messages of both libraries."""
    if request.param == "rosbags":
        return Messages(RosbagsMessages())
    pytest.importorskip("sensor_msgs.msg", reason="ROS 2's Python messages are not installed")
    return Messages(RclpyMessages())
