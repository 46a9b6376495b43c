"""``sensor_msgs/CameraInfo`` -> camera model. ROS 1's upper-case field names (K, D, R, P) are read as well."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.transforms import Transform, is_rotation

logger = logging.getLogger(__name__)

_MODELS = {
    "plumb_bob": Distortion.PLUMB_BOB,
    "rational_polynomial": Distortion.RATIONAL_POLYNOMIAL,
    "equidistant": Distortion.EQUIDISTANT,
    "fisheye": Distortion.EQUIDISTANT,
}
_warned: set[str] = set()


def camera_from_info(msg: Any, rectified: bool) -> CameraModel:
    """Intrinsics of the image that comes with a CameraInfo.

    rectified: the image is rectified, so that P holds and D is ignored; otherwise K and D hold.

    Binning and region of interest are honoured (both are given in full-resolution pixels; REP 104): the model is that
    of the image as it is sent. Binning joins whole neighbourhoods of pixels, so their centres move by half a pixel.
    Raises CalibrationError that names the field.
    """
    K, P = _matrix(msg, "k", (3, 3)), _matrix(msg, "p", (3, 4))
    D = tuple(float(value) for value in _read(msg, "d"))
    if not K.any():
        raise CalibrationError("CameraInfo k: all zero, the camera is not calibrated", reason="camera_info")
    name = str(msg.distortion_model).strip().lower()
    distortion = Distortion.NONE
    if rectified:
        if P[:, :3].any():
            K = P[:, :3]
        elif any(D):
            raise CalibrationError("CameraInfo p: all zero, but the image is rectified", reason="camera_info")
        D = ()
    elif any(D):
        if name not in _MODELS:
            known = ", ".join(_MODELS)
            raise CalibrationError(
                f"CameraInfo distortion_model: one of {known} expected, got {msg.distortion_model!r}",
                reason="camera_info",
            )
        distortion = _MODELS[name]
    elif name and name not in _MODELS and name != "none":
        raise CalibrationError(
            f"CameraInfo distortion_model: unknown model {msg.distortion_model!r}", reason="camera_info"
        )
    elif distortion is Distortion.NONE and name in ("equidistant", "fisheye"):
        distortion, D = Distortion.EQUIDISTANT, (0.0, 0.0, 0.0, 0.0)  # no coefficients, yet not a pinhole
    else:
        D = ()
    try:
        full = CameraModel(int(msg.width), int(msg.height), K, distortion, D)
        return _as_sent(full, msg)
    except CalibrationError as error:
        raise CalibrationError(f"CameraInfo: {error}", reason="camera_info") from None


def optical_from_info(msg: Any, rectified: bool) -> Transform:
    """``T_image_frame`` (4, 4): from the optical frame that TF knows to the one ``camera_from_info`` projects from.

    As in image_geometry, TF's frame is the rectified camera's. A rectified image of a stereo pair's second camera is
    shifted by P's fourth column; a raw one is turned back by R. Most cameras are monocular: both are nothing.
    An R that is no rotation is an error where the image is raw and distorted, else it is not needed: a warning, once.
    """
    T = np.eye(4)
    if rectified:
        P = _matrix(msg, "p", (3, 4))
        if P[:, 3].any() and P[:, :3].any():
            T[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        return T
    R = _matrix(msg, "r", (3, 3))
    if not R.any():  # left empty
        return T
    if is_rotation(R):
        T[:3, :3] = R.T
        return T
    if any(float(value) for value in _read(msg, "d")):
        raise CalibrationError(f"CameraInfo r: a rotation expected, got {R.tolist()}", reason="camera_info")
    frame = str(msg.header.frame_id)
    if frame not in _warned:
        _warned.add(frame)
        logger.warning("CameraInfo of %s: r is not a rotation; taken as the identity", frame)
    return T


def info_content(msg: Any) -> tuple:
    """All that a CameraInfo says but its stamp, for telling whether two say the same."""
    roi = msg.roi
    return (
        str(msg.header.frame_id),
        str(msg.distortion_model),
        *(int(getattr(msg, name)) for name in ("width", "height", "binning_x", "binning_y")),
        *(int(getattr(roi, name)) for name in ("x_offset", "y_offset", "width", "height")),
        *(np.array(_read(msg, name), np.float64).tobytes() for name in "kdrp"),
    )


def _as_sent(full: CameraModel, msg: Any) -> CameraModel:
    """The full-resolution model cut to the region of interest, then binned."""
    bin_x, bin_y = max(int(msg.binning_x), 1), max(int(msg.binning_y), 1)
    roi = msg.roi
    left, top, width, height = int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)
    if width == 0 and height == 0:
        width, height = full.width - left, full.height - top
    if width < 1 or height < 1 or left + width > full.width or top + height > full.height:
        raise CalibrationError(
            f"roi: a region within {full.width} x {full.height} expected, got {width} x {height} at {left}, {top}"
        )
    if (bin_x, bin_y, left, top, width, height) == (1, 1, 0, 0, full.width, full.height):
        return full
    return full.transformed(1 / bin_x, 1 / bin_y, width // bin_x, height // bin_y, left, top)


def _read(msg: Any, name: str) -> Any:
    return getattr(msg, name) if hasattr(msg, name) else getattr(msg, name.upper())


def _matrix(msg: Any, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    values = np.array(_read(msg, name), np.float64)
    if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
        raise CalibrationError(
            f"CameraInfo {name}: {shape[0] * shape[1]} finite numbers expected, got {values.tolist()}",
            reason="camera_info",
        )
    return values.reshape(shape)
