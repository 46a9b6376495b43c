"""``sensor_msgs/CameraInfo`` -> camera model. Its fields are described in REP 104 and the message's definition."""

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
    """Intrinsics of the image that comes with a CameraInfo, as it is sent: cut to the region of interest, then binned.

    rectified: the image is rectified, so that P holds and D is ignored; otherwise K and D hold.

    Both region and binning refer to the full-resolution image. Binning joins whole neighbourhoods of pixels, so their
    centres move by half a pixel. Raises CalibrationError, reason ``camera_info``, that names the field.
    """
    K = _rectified_intrinsics(msg) if rectified else _matrix(msg, "k", (3, 3))
    if not K.any():
        hint = "; p is not: set rectified where the image is" if any(msg.p) else ", the camera is not calibrated"
        raise CalibrationError(f"CameraInfo k: all zero{hint}", reason="camera_info")
    distortion, D = (Distortion.NONE, ()) if rectified else _distortion(msg)
    try:
        return _as_sent(CameraModel(int(msg.width), int(msg.height), K, distortion, D), msg)
    except CalibrationError as error:
        raise CalibrationError(f"CameraInfo: {error}", reason="camera_info") from None


def optical_from_info(msg: Any, rectified: bool) -> Transform:
    """``T_image_frame`` (4, 4): from the optical frame of TF to the one ``camera_from_info`` projects from.

    As in ``image_geometry``, TF's frame is that of the rectified camera. The rectified image of a stereo pair's second
    camera is shifted by P's fourth column; a raw image is rotated by the inverse of R. For a monocular camera it is the
    identity. An R that is not a rotation raises CalibrationError where the image is raw and distorted; else it is not
    needed, and is warned about once.
    """
    T = np.eye(4)
    if rectified:
        P = _matrix(msg, "p", (3, 4))
        if P[:, 3].any() and P[:, :3].any():
            T[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        return T
    R = np.array(msg.r, np.float64).reshape(3, 3)
    if not R.any():  # left empty
        return T
    if is_rotation(R):
        T[:3, :3] = R.T
        return T
    if any(msg.d):
        raise CalibrationError(f"CameraInfo r: a rotation expected, got {R.tolist()}", reason="camera_info")
    frame = str(msg.header.frame_id)
    if frame not in _warned:
        _warned.add(frame)
        logger.warning("CameraInfo of %s: r is not a rotation; the identity is used instead", frame)
    return T


def info_content(msg: Any) -> tuple:
    """A CameraInfo's content except for its stamp, for comparing two of them."""
    roi = msg.roi
    return (
        str(msg.header.frame_id),
        str(msg.distortion_model),
        *(int(getattr(msg, name)) for name in ("width", "height", "binning_x", "binning_y")),
        *(int(getattr(roi, name)) for name in ("x_offset", "y_offset", "width", "height")),
        *(np.array(getattr(msg, name), np.float64).tobytes() for name in "kdrp"),
    )


def _rectified_intrinsics(msg: Any) -> NDArray[np.float64]:
    """P without its fourth column. Where it is all zero, K holds, if there was no distortion to take away."""
    P = _matrix(msg, "p", (3, 4))
    if P[:, :3].any():
        return P[:, :3]
    K = _matrix(msg, "k", (3, 3))
    if not K.any():
        raise CalibrationError("CameraInfo k and p: all zero, the camera is not calibrated", reason="camera_info")
    if any(msg.d):
        raise CalibrationError("CameraInfo p: all zero, but the image is rectified", reason="camera_info")
    return K


def _distortion(msg: Any) -> tuple[Distortion, tuple[float, ...]]:
    """The model of a raw image and its coefficients."""
    name, D = str(msg.distortion_model).strip().lower(), tuple(float(value) for value in msg.d)
    if name in ("", "none") and not any(D):
        return Distortion.NONE, ()
    if name not in _MODELS:
        expected = ", ".join(_MODELS)
        raise CalibrationError(
            f"CameraInfo distortion_model: one of {expected} expected, got {msg.distortion_model!r}",
            reason="camera_info",
        )
    if any(D):
        return _MODELS[name], D
    # Without coefficients an equidistant projection is still not a pinhole's.
    return (Distortion.EQUIDISTANT, (0.0,) * 4) if _MODELS[name] is Distortion.EQUIDISTANT else (Distortion.NONE, ())


def _as_sent(full: CameraModel, msg: Any) -> CameraModel:
    """The full-resolution model, cut to the region of interest and binned."""
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


def _matrix(msg: Any, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    values = np.array(getattr(msg, name), np.float64)
    if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
        raise CalibrationError(
            f"CameraInfo {name}: {shape[0] * shape[1]} finite numbers expected, got {values.tolist()}",
            reason="camera_info",
        )
    return values.reshape(shape)
