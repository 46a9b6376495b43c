"""Messages that belong together -> one ``Frame``, for live topics and bags alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import CalibrationError, MessageError, SamAdaptError, TaxonomyError
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.transform_tree import TransformTree
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.messages.camera_info import camera_from_info, info_content, optical_from_info
from sam_adapt_ros.messages.image import declared_size, decode_image, decode_instances
from sam_adapt_ros.messages.mounting import Mounting
from sam_adapt_ros.messages.point_cloud import Cloud, read_labels, read_points
from sam_adapt_ros.messages.sensor_frame import SensorFrame, SensorPoints
from sam_adapt_ros.messages.transform_messages import TransformFeed
from sam_adapt_ros.messages.vehicle_motion import NO_MOTION, POSE_EXTRAPOLATED, Motion, VehicleMotion
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

Array = TypeVar("Array", bound=NDArray[Any])

_DARK = 16  # the higher 8 of 16 bits are less, where a sensor's 12 bits are the lower ones


@dataclass(frozen=True, eq=False)
class AssembledFrame:
    """A frame, and what it lacks.

    cloud: the decoded cloud, for its other fields.
    dropped: cameras that are left out -> reason (``image_…``, ``camera_info``, ``transform_…``).
    warnings: reason by camera (or by "ground_truth" or "lidar") where an input is used although something about it is
    wrong.
    details: a full sentence for each entry of the two.
    """

    frame: Frame
    cloud: Cloud
    dropped: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Intrinsics:
    model: CameraModel
    T_image_frame: Transform
    frame_id: str


class FrameAssembler:
    """Decodes messages and brings them together by calibration.

    taxonomy: the class set that ground truth is converted to; None: ground truth is not read.
    notices: takes what is degraded from now on, in words; by default a list of the assembler's own.
    tree: the poses of the sensors. transforms: takes the messages that fill it.
    """

    def __init__(self, config: Config, taxonomy: Taxonomy | None = None, notices: Notices | None = None) -> None:
        self.tree = TransformTree()
        self.notices = notices if notices is not None else Notices()
        self._config = config
        self.transforms = TransformFeed(self.tree, self.notices)
        transforms = config.transforms
        self._sensor_frame = SensorFrame(transforms.base_frame, transforms.max_extrapolation, self.notices)
        self._motion = VehicleMotion(self.tree, transforms, self.notices)
        self._mounting = Mounting(transforms.base_frame, transforms.max_extrapolation, self.notices)
        self._taxonomy = taxonomy
        self._intrinsics: dict[str, _Intrinsics | CalibrationError] = {}  # of each camera's last CameraInfo
        self._info_seen: dict[str, tuple] = {}
        self._calibrated: Mapping[str, CameraCalibration] = {}

    def set_camera_info(self, camera: str, msg: Any) -> None:
        """Takes a camera's CameraInfo; cheap when it is the same as the last one but for its stamp.

        An unusable one does not raise: the camera is left out, with reason ``camera_info``, until a usable one comes.
        """
        content = info_content(msg)
        if self._info_seen.get(camera) == content:
            return
        self._info_seen[camera] = content
        rectified = self._config.cameras[camera].rectified
        try:
            model, T_image_frame = camera_from_info(msg, rectified), optical_from_info(msg, rectified)
            self._intrinsics[camera] = _Intrinsics(model, T_image_frame, str(msg.header.frame_id))
        except CalibrationError as error:
            text = f"camera {camera}: its images are left out until its CameraInfo is usable: {error}"
            self.notices.add(f"camera_info:{camera}", text)
            self._intrinsics[camera] = error
        else:
            self.notices.withdraw(f"camera_info:{camera}")

    def set_calibration(self, calibration: Calibration) -> None:
        """Takes a calibration file's extrinsics into the tree, and its intrinsics for cameras without CameraInfo."""
        self._calibrated = calibration.cameras
        self._sensor_frame.lidar = calibration.lidar_frame
        calibration.feed(self.tree)

    def awaited(self, stamp_ns: int, frame_id: str, images: Mapping[str, tuple[int, Any]]) -> set[str]:
        """The poses that a sweep lacks and may yet get when it waits (at most ``transforms.timeout``), a name each.

        The arguments are those of ``assemble``.
        """
        frames = [(self._frame_of(name, msg), stamp) for name, (stamp, msg) in images.items()]
        return self._motion.awaited(self._sensor_frame.name(self.tree, frame_id), stamp_ns, frames)

    def pose(self, frame_id: str, stamp_ns: int) -> Transform | None:
        """``T_odom_lidar`` (4, 4) at the stamp, of sweeps with this ``frame_id``; None where it is not known."""
        return self._motion.pose(self._sensor_frame.name(self.tree, frame_id), stamp_ns)[0]

    def conclude(self) -> None:
        """No more frames will come: the notices become those of all of them, however few they were."""
        self.transforms.conclude()
        self._motion.conclude()
        self._sensor_frame.conclude()

    def assemble(
        self,
        stamp_ns: int,
        frame_id: str,
        cloud_msg: Any,
        images: Mapping[str, tuple[int, Any]],
        ground_truth_msg: Any = None,
        instances: Mapping[str, Any] | None = None,
    ) -> AssembledFrame:
        """Makes one frame.

        stamp_ns, frame_id: of the sweep. images: camera -> (stamp on the LiDAR's clock, Image or CompressedImage).
        ground_truth_msg: label cloud of the same sweep. instances: camera -> image of instance ids.

        A camera whose image, CameraInfo or transform is unusable is left out, with the reason.
        Raises MessageError when the cloud is unusable: ``cloud_layout``, ``cloud_fields`` or ``cloud_empty``, and
        TaxonomyError when the labels' ids are of another data set than configured.
        """
        cloud = read_points(cloud_msg)
        if len(cloud) == 0:
            raise MessageError("cloud_empty", "point cloud: no points")
        sweep = self._sensor_frame.bring(self.tree, cloud, frame_id, stamp_ns)
        if self._config.lidar.deskew and sweep.frame == frame_id and sweep.origin is None:  # others are registered
            sweep = sweep._replace(points=self._motion.undone(sweep.points, cloud, sweep.frame, stamp_ns))
        issues = _Issues()
        views = []
        for name in self._config.cameras:
            if name not in images:
                continue
            stamp, msg = images[name]
            try:
                views.append(self._view(name, stamp, msg, stamp_ns, sweep, (instances or {}).get(name), issues))
            except (MessageError, CalibrationError) as error:
                issues.drop(name, error)
        ground_truth = self._labels(ground_truth_msg, len(cloud), issues)
        T_odom_lidar, extrapolated = self._motion.pose(sweep.frame, stamp_ns)
        if extrapolated:
            issues.warn("lidar", POSE_EXTRAPOLATED, f"by {extrapolated:.3f} s")
        self._motion.note(issues.motion)
        frame = Frame(
            stamp_ns=stamp_ns,
            frame_id=frame_id,
            points=sweep.points,
            views=tuple(views),
            ground_truth=ground_truth,
            T_odom_lidar=T_odom_lidar if sweep.origin is None else None,
            instances=None if ground_truth is None else _point_instances(ground_truth_msg),
            T_base_lidar=self._mounting.at(self.tree, sweep.frame, stamp_ns, self._motion.fixed_frame(sweep.frame)),
            message_points=None if sweep.points is cloud.points else cloud.points,
            intensity=cloud.intensity,
        )
        return AssembledFrame(frame, cloud, issues.dropped, issues.warnings, issues.details)

    def _view(
        self, name: str, stamp: int, msg: Any, sweep_ns: int, sweep: SensorPoints, instances: Any, issues: _Issues
    ) -> CameraView:
        intrinsics = self._intrinsics_of(name)
        camera = intrinsics.model
        frame = self._frame_of(name, msg)
        T_camera_lidar = intrinsics.T_image_frame @ self._extrinsics(name, frame, stamp, sweep.frame, sweep_ns, issues)
        if sweep.origin is not None:
            T_camera_lidar[:3, 3] += T_camera_lidar[:3, :3] @ sweep.origin
        image = _decoded(decode_image, msg, camera, "image")
        if "16" in str(getattr(msg, "encoding", "")):
            self.notices.set(
                f"camera_16_bits:{name}",
                f"camera {name}: its {msg.encoding} images use the lower 12 of 16 bits at most, and are nearly black, "
                "since the higher 8 bits are used: where the sensor has 10 or 12 bits, have its driver shift them to "
                "the left"
                if image.max() < _DARK
                else "",
            )
        ids = None
        if instances is not None:
            try:
                ids = _decoded(decode_instances, instances, camera, "instance image")
            except MessageError as error:
                issues.warn(name, "instances", str(error))
        return CameraView(name, stamp, image, camera, T_camera_lidar, ids, frame)

    def _extrinsics(self, name: str, frame: str, stamp: int, lidar: str, sweep_ns: int, issues: _Issues) -> Transform:
        """``T_frame_lidar`` with the motion between the two stamps compensated; without odometry, as if there were no
        motion."""
        T, motion = self._motion.between(frame, stamp, lidar, sweep_ns)
        issues.motion = issues.motion.worse(motion)
        if motion.error is not None:
            issues.warn(name, NO_MOTION, str(motion.error))
        elif motion.extrapolated:
            issues.warn(name, POSE_EXTRAPOLATED, f"by {motion.extrapolated:.3f} s")
        return T

    def _intrinsics_of(self, name: str) -> _Intrinsics:
        known = self._intrinsics.get(name)
        if isinstance(known, _Intrinsics):
            return known
        if name in self._calibrated:
            camera = self._calibrated[name]
            return _Intrinsics(camera.model, np.eye(4), camera.frame_id)
        message = str(known) if known else "no CameraInfo, and no calibration file names the camera"
        raise CalibrationError(message, reason="camera_info")

    def _frame_of(self, name: str, msg: Any) -> str:
        """The camera's optical frame: of the configuration, the image, its CameraInfo or the calibration file."""
        sources = self._config.cameras[name], msg.header, self._intrinsics.get(name), self._calibrated.get(name)
        configured, image, info, calibrated = (str(getattr(source, "frame_id", "")) for source in sources)
        self.notices.set(
            f"camera_frame:{name}",
            f"camera {name}: its images are in frame {image}, its CameraInfo in {info}: the first is used; "
            f"where it is not the optical frame, set cameras.{name}.frame_id"
            if image and info and image != info and not configured
            else "",
        )
        return configured or image or info or calibrated

    def _labels(self, msg: Any, count: int, issues: _Issues) -> NDArray[np.uint8] | None:
        if msg is None or self._taxonomy is None:
            return None
        topic, mapping = self._config.ground_truth.topic, self._config.ground_truth.mapping
        try:
            _, raw, _ = read_labels(msg)
            if len(raw) != count:
                raise MessageError("ground_truth_size", f"label cloud: {count} points expected, got {len(raw)}")
        except MessageError as error:
            issues.warn("ground_truth", error.reason, str(error))
            self.notices.add("ground_truth", f"{topic}: labels are left unread: {error}")
            return None
        try:
            return self._taxonomy.classes_of(raw, mapping)
        except TaxonomyError as error:
            raise TaxonomyError(f"{topic}: {error}, or ground_truth.topic to '' to leave the labels unread") from None


@dataclass(eq=False)
class _Issues:
    """What is wrong with the inputs of one frame, see ``AssembledFrame``."""

    dropped: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    motion: Motion = field(default_factory=Motion)

    def drop(self, name: str, error: SamAdaptError) -> None:
        self.warnings.pop(name, None)
        self.dropped[name] = getattr(error, "reason", "unusable")
        self.details[name] = str(error)

    def warn(self, name: str, reason: str, text: str) -> None:
        self.warnings[name] = reason
        self.details[name] = text


def _point_instances(label_cloud: Any) -> NDArray[np.uint16] | None:
    """(N,) ids of the ``instance`` field, which label clouds of the simulator have."""
    cloud = read_points(label_cloud)
    return cloud.field("instance").astype(np.uint16) if "instance" in cloud.fields else None


def _decoded(decode: Callable[[Any], Array], msg: Any, camera: CameraModel, what: str) -> Array:
    """An image of the camera's size. A file's size is checked before it is decoded: damage to a few bytes of its header
    would cost seconds and gigabytes."""
    size = declared_size(msg)
    if size is None or size == (camera.width, camera.height):
        image = decode(msg)
        size = (image.shape[1], image.shape[0])
    if size != (camera.width, camera.height):
        expected, got = f"{camera.width} x {camera.height}", f"{size[0]} x {size[1]}"
        raise MessageError("image_size", f"{what}: {expected} expected by its CameraInfo, got {got}")
    return image
