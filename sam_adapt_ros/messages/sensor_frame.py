"""Sweeps about their sensor: clouds that come in a map's frame are brought back, what is no measurement is NaN."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.missing_returns import find_missing_returns
from sam_adapt_ros.geometry.transform_tree import TransformTree
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.messages.point_cloud import Cloud
from sam_adapt_ros.notices import Notices

_NEAREST, _NEAR = 5, 100.0
"""Percent of the points; metres from the sensor within which they are, in the frame of any LiDAR."""
_SPREAD = 300.0
"""Metres from the sensor within which half of the points are, of any LiDAR on a road."""
_SAMPLED = 8192  # points that percentiles are taken of
_PRECISION = 0.02
"""Metres: rounding that changes the voxels of points."""


class SensorPoints(NamedTuple):
    """points: (N, 3) float32 metres, the origin about where the sensor is.

    frame: the one whose axes these are. origin: (3,) metres in ``frame`` of the points' origin, where that is a guess;
    None: it is the frame's own.
    """

    points: NDArray[np.float32]
    frame: str
    origin: NDArray[np.float64] | None = None


class SensorFrame:
    """Brings sweeps to where the network, the masks and the propagation expect them: around the sensor.

    Most come so. A *registered* cloud, in a frame that the vehicle moves in (``map``, UTM), is transformed by TF into
    the LiDAR's frame where a calibration file names it, else into the vehicle's, which is near enough. That is done in
    float64, since float32 has steps of half a metre at UTM's northings. Where TF does not tell, but the points are far
    from their origin, the sensor is guessed at their median.

    lidar: the LiDAR's frame, "" where only the clouds themselves name one.
    """

    def __init__(self, base: str, max_extrapolation_s: float, notices: Notices) -> None:
        """base: the vehicle's frame."""
        self._base, self._limit, self._notices = base, max_extrapolation_s, notices
        self._faults: dict[str, tuple[int, str]] = {}  # by notice: of how many sweeps, and what was said last
        self.lidar = ""

    def name(self, tree: TransformTree, frame_id: str) -> str:
        """The frame that sweeps with this ``frame_id`` are brought to: mostly their own."""
        return self._sensor if tree.moves_in(self._base, frame_id) else frame_id

    @property
    def _sensor(self) -> str:
        return self.lidar or self._base

    def bring(self, tree: TransformTree, cloud: Cloud, frame_id: str, stamp_ns: int) -> SensorPoints:
        """A sweep's points; those of the message itself where there is nothing to do."""
        points = self._measured(cloud.points)
        sweep = SensorPoints(points, frame_id)
        middle = _middle_of_far_points(cloud, points)
        moved, guess = middle is not None or self.name(tree, frame_id) != frame_id, ""
        self._say("lidar_precision", _describe_precision(cloud) if moved else "")
        if moved:
            try:
                T_sensor_frame = tree.lookup(self._sensor, frame_id, stamp_ns, self._limit)
            except CalibrationError as error:
                if middle is not None:
                    T = np.eye(4)
                    T[:3, 3] = -middle
                    sweep = SensorPoints(_moved(T, cloud, points), frame_id, middle)
                    guess = self._describe_guess(frame_id, middle, error)
            else:
                sweep = SensorPoints(_moved(T_sensor_frame, cloud, points), self._sensor)
        self._say("lidar_frame", guess)
        self._say("lidar_units", _describe_units(sweep.points))
        return sweep

    def conclude(self) -> None:
        """No more sweeps will come: the notices name what was wrong with any of them."""
        for key, (count, text) in self._faults.items():
            self._notices.add(key, f"{text} ({count} sweeps)" if count > 1 else text)

    def _measured(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The points with NaN for what is no measurement."""
        missing = find_missing_returns(points)
        self._say(
            "no_measurement",
            f"point cloud: none of the {len(points)} points of a sweep is a measurement (not finite, at the "
            "origin, or all at one place): they get no label (255); check the driver"
            if not (np.isfinite(points).all(1) & ~missing.rows).any()
            else "",
        )
        self._say(
            "missing_returns",
            f"point cloud: {np.count_nonzero(missing.rows)} points are no measurement but at a constant range, "
            f"{missing.constant_range:.2f} m, in all directions: they get no label (255)"
            if missing.constant_range
            else "",
        )
        return np.where(missing.rows[:, None], np.float32(np.nan), points) if missing.rows.any() else points

    def _describe_guess(self, frame_id: str, middle: NDArray[np.float64], error: CalibrationError) -> str:
        return (
            f"point cloud: frame {frame_id or '(none)'} is not the sensor's, its origin is "
            f"{np.linalg.norm(middle):,.0f} m away, and TF does not tell where {self._sensor} is in it ({error}): the "
            "sensor is guessed at the middle of the points, and cameras cannot be used. Publish the transform, or set "
            "transforms.base_frame"
        )

    def _say(self, key: str, text: str) -> None:
        """What is wrong with the present sweep; "" when nothing is."""
        if text:
            self._faults[key] = self._faults.get(key, (0, ""))[0] + 1, text
        self._notices.set(key, text)


def _describe_units(points: NDArray[np.float32]) -> str:
    """Where coordinates cannot be metres."""
    ranges = _ranges(points)
    half = float(np.median(ranges)) if len(ranges) else 0.0
    if half <= _SPREAD:
        return ""
    return (
        f"point cloud: half of the points are more than {half:,.0f} m from the sensor: metres expected (REP-103); "
        "millimetres? Points that far away get no label (255)"
    )


def _describe_precision(cloud: Cloud) -> str:
    """Where the message's numbers are too coarse so far from their origin."""
    if any(cloud.field(name).dtype.itemsize > 4 for name in "xyz"):
        return ""
    finite = cloud.points[np.isfinite(cloud.points).all(1)]
    step = float(np.spacing(np.abs(finite).max())) if len(finite) else 0.0
    if step <= _PRECISION:
        return ""
    return (
        f"point cloud: float32 coordinates are rounded to {step:.3f} m so far from their frame's origin, and "
        "labels suffer: publish x, y, z as float64, or in a nearer frame"
    )


def _moved(T: Transform, cloud: Cloud, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 3) the cloud's points through ``T``, in float64 until the end. NaN where ``points`` are not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        moved = (cloud.exact_points() @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    moved[~np.isfinite(points).all(1)] = np.nan
    return moved


def _middle_of_far_points(cloud: Cloud, points: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """(3,) the median of the points, when they are around a place so far from their origin that this cannot be the
    sensor; else None."""
    if not len(ranges := _ranges(points)) or np.percentile(ranges, _NEAREST) <= _NEAR:
        return None
    known = cloud.exact_points()[np.isfinite(points).all(1)]
    middle = np.median(known, axis=0)
    with np.errstate(over="ignore"):
        spread = np.median(np.linalg.norm(known - middle, axis=1))
    return middle if spread <= _SPREAD else None


def _ranges(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M,) metres from the origin to the finite points, thinned out to some thousand."""
    x, y, z = points[:: max(1, len(points) // _SAMPLED)].T
    with np.errstate(over="ignore", invalid="ignore"):
        ranges = np.sqrt(x * x + y * y + z * z)
    return ranges[np.isfinite(ranges)]
