"""Messages that belong together -> one ``Frame``. The same class serves live topics and bags."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import CameraConfig, Config
from sam_adapt_ros.errors import CalibrationError, MessageError, SamAdaptError
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.poses import TransformTree
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages.calibration_file import Calibration
from sam_adapt_ros.messages.camera_info import camera_from_info, info_content, optical_from_info
from sam_adapt_ros.messages.image import decode_image, decode_instances
from sam_adapt_ros.messages.point_cloud import Cloud, read_labels, read_points
from sam_adapt_ros.taxonomy import Taxonomy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class AssembledFrame:
    """A frame and what is to be said about it.

    dropped: cameras that are left out -> reason (``image_…``, ``camera_info``, ``transform_…``).
    warnings: reason by camera (or by "ground_truth") where something is used but is not as it should be.
    details: the full text for each entry of the two.
    cloud: the decoded cloud, for its other fields.
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
    """Decodes messages and ties them together by calibration.

    taxonomy: that ground truth is read in; None: there is none to read.
    tree: where the sensors are when; feed it with ``messages.transforms``.
    counts: ``<reason>.<camera>`` of everything left out or warned about.
    """

    def __init__(self, config: Config, taxonomy: Taxonomy | None = None) -> None:
        self.tree = TransformTree()
        self.counts: Counter[str] = Counter()
        self._config = config
        self._ground_truth = taxonomy.lookup(config.ground_truth.mapping) if taxonomy else None
        self._intrinsics: dict[str, _Intrinsics] = {}
        self._info_errors: dict[str, CalibrationError] = {}
        self._info_seen: dict[str, tuple] = {}
        self._calibration: Calibration | None = None

    def set_camera_info(self, camera: str, msg: Any) -> None:
        """Takes a camera's CameraInfo; cheap when it says what the last one said.

        One that is unusable never raises: the camera is left out, with reason ``camera_info``, until a better one.
        """
        content = info_content(msg)
        if self._info_seen.get(camera) == content:
            return
        self._info_seen[camera] = content
        rectified = self._camera(camera).rectified
        try:
            model = camera_from_info(msg, rectified)
            T_image_frame = optical_from_info(msg, rectified)
        except CalibrationError as error:
            logger.warning("camera %s: %s", camera, error)
            self._info_errors[camera] = error
            self._intrinsics.pop(camera, None)
            return
        self._info_errors.pop(camera, None)
        self._intrinsics[camera] = _Intrinsics(model, T_image_frame, str(msg.header.frame_id))

    def set_calibration(self, calibration: Calibration) -> None:
        """Takes the calibration file: extrinsics into the tree, intrinsics for cameras without a CameraInfo."""
        self._calibration = calibration
        calibration.feed(self.tree)

    def transforms_ready(self, stamp_ns: int, frame_id: str, images: Mapping[str, tuple[int, Any]]) -> bool:
        """False when odometry or TF at the stamps may yet come, so that a sweep should wait for it (at most
        ``transforms.timeout``); True when it is there, or when waiting will not help."""
        frames = [(self._frame_of(name, msg), stamp) for name, (stamp, msg) in images.items()]
        fixed = self._fixed_frame()
        for frame, stamp in [(frame_id, stamp_ns), *frames]:
            try:
                self.tree.lookup(fixed, frame, stamp)
            except CalibrationError as error:
                if error.reason == "transform_late":
                    return False
        return True

    def pose(self, frame_id: str, stamp_ns: int) -> Transform | None:
        """``T_odom_frame`` at the stamp; None where nobody knows."""
        limit = self._config.transforms.max_extrapolation
        try:
            return self.tree.lookup(self._fixed_frame(), frame_id, stamp_ns, limit)
        except CalibrationError:
            return None

    def assemble(
        self,
        stamp_ns: int,
        frame_id: str,
        cloud_msg: Any,
        images: Mapping[str, tuple[int, Any]],
        ground_truth_msg: Any = None,
        instances: Mapping[str, Any] | None = None,
    ) -> AssembledFrame:
        """One frame.

        stamp_ns, frame_id: the sweep's. images: camera -> (stamp on the LiDAR's clock, Image or CompressedImage).
        ground_truth_msg: label cloud of the same sweep. instances: camera -> image of instance ids.

        A camera whose image, CameraInfo or transform is unusable is left out with its reason.
        Raises MessageError when the cloud is: reason ``cloud_layout``, ``cloud_fields`` or ``cloud_empty``.
        """
        cloud = read_points(cloud_msg)
        if len(cloud) == 0:
            raise MessageError("cloud_empty", "point cloud: no points")
        report = _Report()
        views = []
        for name in self._config.cameras:
            if name not in images:
                continue
            stamp, msg = images[name]
            try:
                views.append(self._view(name, stamp, msg, stamp_ns, frame_id, (instances or {}).get(name), report))
            except (MessageError, CalibrationError) as error:
                report.drop(name, error)
        ground_truth = self._labels(ground_truth_msg, len(cloud), report)
        frame = Frame(
            stamp_ns=stamp_ns,
            frame_id=frame_id,
            points=cloud.points,
            views=tuple(views),
            ground_truth=ground_truth,
            T_odom_lidar=self.pose(frame_id, stamp_ns),
            instances=None if ground_truth is None else _point_instances(ground_truth_msg),
        )
        self.counts.update(f"{reason}.{name}" for name, reason in [*report.dropped.items(), *report.warnings.items()])
        return AssembledFrame(frame, cloud, report.dropped, report.warnings, report.details)

    def _view(
        self, name: str, stamp: int, msg: Any, sweep_ns: int, lidar: str, instances: Any, report: _Report
    ) -> CameraView:
        intrinsics = self._intrinsics_of(name)
        camera = intrinsics.model
        frame = self._frame_of(name, msg)
        T_camera_lidar = intrinsics.T_image_frame @ self._extrinsics(name, frame, stamp, lidar, sweep_ns, report)
        image = decode_image(msg)
        _check_size(image, camera, "image")
        ids = None
        if instances is not None:
            try:
                ids = decode_instances(instances)
                _check_size(ids, camera, "instance image")
            except MessageError as error:
                ids = None
                report.warn(name, "instances", str(error))
        return CameraView(name, stamp, image, camera, T_camera_lidar, ids)

    def _extrinsics(self, name: str, frame: str, stamp: int, lidar: str, sweep_ns: int, report: _Report) -> Transform:
        """``T_frame_lidar`` with the motion between the two stamps undone, or, without odometry, as if there were
        none."""
        limit = self._config.transforms.max_extrapolation
        fixed = self._fixed_frame()
        try:
            return self.tree.lookup_full(frame, stamp, lidar, sweep_ns, fixed, limit)
        except CalibrationError as motion:
            T = self.tree.lookup(frame, lidar, sweep_ns, limit)
            report.warn(name, "no_motion", str(motion))
            return T

    def _intrinsics_of(self, name: str) -> _Intrinsics:
        if name in self._intrinsics:
            return self._intrinsics[name]
        if self._calibration is not None and name in self._calibration.cameras:
            camera = self._calibration.cameras[name]
            return _Intrinsics(camera.model, np.eye(4), camera.frame_id)
        if name in self._info_errors:
            raise CalibrationError(str(self._info_errors[name]), reason="camera_info")
        raise CalibrationError("no CameraInfo, and no calibration file names the camera", reason="camera_info")

    def _frame_of(self, name: str, msg: Any) -> str:
        """The camera's optical frame: as configured, or as the image, its CameraInfo or the calibration file says."""
        calibrated = self._calibration.cameras.get(name) if self._calibration is not None else None
        candidates = [self._camera(name).frame_id, str(msg.header.frame_id)]
        candidates += [self._intrinsics[name].frame_id] if name in self._intrinsics else []
        candidates += [calibrated.frame_id] if calibrated is not None else []
        return next((frame for frame in candidates if frame), "")

    def _camera(self, name: str) -> CameraConfig:
        return self._config.cameras[name]

    def _labels(self, msg: Any, count: int, report: _Report) -> NDArray[np.uint8] | None:
        if msg is None or self._ground_truth is None:
            return None
        try:
            _, raw, _ = read_labels(msg)
            if len(raw) != count:
                raise MessageError("ground_truth_size", f"label cloud: {count} points expected, got {len(raw)}")
        except MessageError as error:
            report.warn("ground_truth", error.reason, str(error))
            return None
        known = (raw >= 0) & (raw < len(self._ground_truth))
        return np.where(known, self._ground_truth[np.where(known, raw, 0)], np.uint8(255))

    def _fixed_frame(self) -> str:
        """The odometry frame as configured; where nobody speaks of it, the frame that the base frame moves in, by
        whatever name (``map``, ``world``): bags differ."""
        transforms = self._config.transforms
        if transforms.odometry_frame.lstrip("/") in self.tree.frames():
            return transforms.odometry_frame
        return self.tree.fixed_above(transforms.base_frame) or transforms.odometry_frame


class _Report:
    """What happened to the cameras of one frame."""

    def __init__(self) -> None:
        self.dropped: dict[str, str] = {}
        self.warnings: dict[str, str] = {}
        self.details: dict[str, str] = {}

    def drop(self, name: str, error: SamAdaptError) -> None:
        self.warnings.pop(name, None)
        self.dropped[name] = getattr(error, "reason", "unusable")
        self.details[name] = str(error)

    def warn(self, name: str, reason: str, text: str) -> None:
        self.warnings[name] = reason
        self.details[name] = text


def _point_instances(label_cloud: Any) -> NDArray[np.uint16] | None:
    """The ``instance`` field that a simulator's label cloud has."""
    cloud = read_points(label_cloud)
    return cloud.field("instance").astype(np.uint16) if "instance" in cloud.fields else None


def _check_size(image: NDArray[Any], camera: CameraModel, what: str) -> None:
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise MessageError(
            "image_size", f"{what}: {camera.width} x {camera.height} expected by its CameraInfo, got {width} x {height}"
        )
