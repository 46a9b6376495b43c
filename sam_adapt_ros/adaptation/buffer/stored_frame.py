"""Frames in few bytes: what learning needs of them, with compressed images; in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import CalibrationError, StoreError
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.io.arrays import Arrays, load_arrays, save_arrays

Bytes = NDArray[np.uint8]
_OPTIONAL = ("ground_truth", "T_odom_lidar", "T_base_lidar", "intensity")
_OVERHEAD = 2048  # bytes of Python objects a frame, about


@dataclass(frozen=True)
class ImageStorage:
    """format: ``jpeg``, of the given quality, or ``png``, exact and several times larger.

    max_height: higher images are scaled down to it, with their intrinsics; 0 keeps them.
    """

    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = 95
    max_height: int = 0


@dataclass(frozen=True, eq=False)
class StoredView:
    """A CameraView whose image and instances are the bytes of a JPEG or PNG file."""

    name: str
    stamp_ns: int
    image: Bytes
    camera: CameraModel
    T_camera_lidar: NDArray[np.float64]
    instances: Bytes | None

    @classmethod
    def encode(cls, view: CameraView, storage: ImageStorage) -> StoredView:
        image, camera, instances = view.image, view.camera, view.instances
        if 0 < storage.max_height < camera.height:
            size = (max(1, round(camera.width * storage.max_height / camera.height)), storage.max_height)
            camera = camera.scaled(*size)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            if instances is not None:
                instances = np.asarray(cv2.resize(instances, size, interpolation=cv2.INTER_NEAREST), np.uint16)
        lossy = storage.format == "jpeg"
        options = [cv2.IMWRITE_JPEG_QUALITY, storage.quality] if lossy else [cv2.IMWRITE_PNG_COMPRESSION, 1]
        bgr = np.ascontiguousarray(image[..., ::-1])
        _, encoded = cv2.imencode(".jpg" if lossy else ".png", bgr, options)
        packed = None
        if instances is not None:
            packed = np.asarray(cv2.imencode(".png", instances, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1], np.uint8)
        T = np.array(view.T_camera_lidar, np.float64)
        return cls(view.name, view.stamp_ns, np.asarray(encoded, np.uint8), camera, T, packed)

    def decode(self) -> CameraView:
        bgr = np.asarray(cv2.imdecode(self.image, cv2.IMREAD_COLOR), np.uint8)
        image = np.ascontiguousarray(bgr[..., ::-1])
        instances = None
        if self.instances is not None:
            instances = np.asarray(cv2.imdecode(self.instances, cv2.IMREAD_UNCHANGED), np.uint16)
        return CameraView(self.name, self.stamp_ns, image, self.camera, self.T_camera_lidar, instances)


@dataclass(frozen=True, eq=False)
class StoredFrame:
    """A Frame with compressed images, without its non-finite points."""

    stamp_ns: int
    frame_id: str
    points: NDArray[np.float32]
    views: tuple[StoredView, ...]
    ground_truth: NDArray[np.uint8] | None
    T_odom_lidar: NDArray[np.float64] | None
    T_base_lidar: NDArray[np.float64] | None = None
    intensity: NDArray[np.float32] | None = None

    @classmethod
    def encode(cls, frame: Frame, storage: ImageStorage) -> StoredFrame:
        finite = np.isfinite(frame.points).all(1)
        return cls(
            frame.stamp_ns,
            frame.frame_id,
            np.array(frame.points[finite], np.float32),
            tuple(StoredView.encode(view, storage) for view in frame.views),
            None if frame.ground_truth is None else np.array(frame.ground_truth[finite], np.uint8),
            None if frame.T_odom_lidar is None else np.array(frame.T_odom_lidar, np.float64),
            None if frame.T_base_lidar is None else np.array(frame.T_base_lidar, np.float64),
            None if frame.intensity is None else np.array(frame.intensity[finite], np.float32),
        )

    def decode(self) -> Frame:
        """The frame; points, poses and labels are exact, images as far as their compression is."""
        views = tuple(view.decode() for view in self.views)
        return Frame(
            self.stamp_ns,
            self.frame_id,
            self.points,
            views,
            self.ground_truth,
            self.T_odom_lidar,
            T_base_lidar=self.T_base_lidar,
            intensity=self.intensity,
        )

    @property
    def nbytes(self) -> int:
        """Its size in memory, about."""
        arrays: list[NDArray[Any] | None] = [self.points, self.ground_truth, self.intensity]
        for view in self.views:
            arrays += [view.image, view.instances]
        return _OVERHEAD * (1 + len(self.views)) + sum(array.nbytes for array in arrays if array is not None)

    def save(self, path: Path) -> None:
        """Writes the frame atomically. Raises StoreError that names the file."""
        arrays: Arrays = {"points": self.points}
        optional = {name: getattr(self, name) for name in _OPTIONAL}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        for place, view in enumerate(self.views):
            arrays |= {f"image_{place}": view.image, f"K_{place}": view.camera.K, f"T_{place}": view.T_camera_lidar}
            if view.instances is not None:
                arrays[f"instances_{place}"] = view.instances
        views = [
            {
                "name": view.name,
                "stamp_ns": view.stamp_ns,
                "size": [view.camera.width, view.camera.height],
                "distortion": view.camera.distortion.value,
                "D": list(view.camera.D),
            }
            for view in self.views
        ]
        save_arrays(path, arrays, {"stamp_ns": self.stamp_ns, "frame_id": self.frame_id, "views": views})

    @classmethod
    def load(cls, path: Path) -> StoredFrame:
        """The frame that ``save`` wrote. Raises StoreError that names the file."""
        arrays, facts = load_arrays(path)
        try:
            views = tuple(
                StoredView(
                    view["name"],
                    view["stamp_ns"],
                    arrays[f"image_{place}"],
                    _camera(view, arrays[f"K_{place}"]),
                    arrays[f"T_{place}"],
                    arrays.get(f"instances_{place}"),
                )
                for place, view in enumerate(facts["views"])
            )
            optional = [arrays.get(name) for name in _OPTIONAL]
            return cls(facts["stamp_ns"], facts["frame_id"], arrays["points"], views, *optional)
        except (KeyError, TypeError, ValueError, CalibrationError) as error:
            raise StoreError("damaged", f"{path}: not a stored frame ({type(error).__name__}: {error})") from None


def _camera(view: dict[str, Any], K: NDArray[np.float64]) -> CameraModel:
    width, height = view["size"]
    return CameraModel(width, height, K, Distortion(view["distortion"]), tuple(view["D"]))
