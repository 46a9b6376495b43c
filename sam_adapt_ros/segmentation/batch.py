"""The network's input: samples (NumPy, one frame) and batches (tensors, several frames)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import Projection, assign_cameras, project_all
from sam_adapt_ros.geometry.transforms import rotate_points
from sam_adapt_ros.geometry.voxels import voxelize
from sam_adapt_ros.segmentation.image_fitting import ImageFit

FAR = 50.0
"""Metres that are 1 in the voxels' range."""
ImageSize = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One frame with its images at the network's size; K images, and those P of the frame's N points that are finite
    and inside the network's cube: elsewhere they would be seen at places where they are not.

    points: (P, 3) float32 metres from the LiDAR, along the vehicle's axes (x forward, z up) where the mounting is
        known, else along the LiDAR's.
    camera: (P,) int8 image that sees the point, -1 = none.
    uv: (P, 2) float32 pixels of the resized image, centres at integers; meaningless where ``camera`` is -1.
    images: (K, H, W, 3) uint8 RGB.
    rows: (P,) int64 rows of the frame's points.
    labels: (P,) uint8 class ids, 255 = ignore; None without ground truth.
    outside: how many finite points are beyond the cube.
    intensity: (P,) float32 from -1 to 1, see ``normalize_intensity``; None where the frame has none, or the network
        does not ask for it.
    image_labels: (P,) uint8, those of the image branch where it has its own; None: ``labels``.
    name: of the frame, in errors.
    """

    points: NDArray[np.float32]
    camera: NDArray[np.int8]
    uv: NDArray[np.float32]
    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: NDArray[np.uint8] | None = None
    outside: int = 0
    intensity: NDArray[np.float32] | None = None
    image_labels: NDArray[np.uint8] | None = None
    name: str = ""

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        architecture: ArchitectureConfig,
        projections: Sequence[Projection] | None = None,
        size: ImageSize | None = None,
    ) -> Sample:
        """Keeps the points that can be placed, turns them into the vehicle's axes, assigns each to the camera that sees
        it best, and fits the images to the network's.

        Args:
            projections: of the frame's points into its views, where they have been computed already.
            size: of the resized images; None: the architecture's.
        """
        finite = np.isfinite(frame.points).all(axis=1)
        rows = np.arange(len(frame.points))
        if size is not None:
            architecture = architecture.model_copy(update={"image_width": size[0], "image_height": size[1]})
        if projections is None:
            projections = project_all(frame.points, frame.views)
        fits = [ImageFit.of(view, architecture) for view in frame.views]
        if architecture.image_focal:
            projections = [fit.within(each, architecture) for fit, each in zip(fits, projections, strict=True)]
        camera, uv = assign_cameras(projections, len(frame.points))
        images = np.zeros((0, architecture.image_height, architecture.image_width, 3), np.uint8)
        if frame.views:
            scale, shift = (np.stack(each)[camera] for each in zip(*(fit.to_network for fit in fits), strict=True))
            uv = uv * scale + shift
            images = np.stack([fit.image(view, architecture) for fit, view in zip(fits, frame.views, strict=True)])
        points = np.asarray(frame.points, np.float32)
        if frame.T_base_lidar is not None:
            points = rotate_points(frame.T_base_lidar, points)
        inside = (np.abs(points) < reach(architecture)).all(axis=1)  # NaN is not
        intensity = None
        if frame.intensity is not None and "intensity" in architecture.point_inputs:
            intensity = normalize_intensity(np.where(finite, frame.intensity, np.float32(np.nan)))
        outside = int(np.count_nonzero(finite & ~inside))
        sample = cls(points, camera, uv, images, rows, frame.ground_truth, outside, intensity)
        sample = replace(sample, image_labels=frame.image_labels, name=str(frame.stamp_ns))
        return sample if inside.all() else sample.only(np.asarray(inside))

    @property
    def has_labels(self) -> bool:
        """Whether some point is labelled."""
        return self.labels is not None and bool((self.labels != IGNORE).any())

    def only(self, keep: NDArray[np.bool_]) -> Sample:
        """The sample with the points of ``keep`` only; (P,) bool."""
        return replace(
            self,
            points=self.points[keep],
            camera=self.camera[keep],
            uv=self.uv[keep],
            rows=self.rows[keep],
            labels=None if self.labels is None else self.labels[keep],
            intensity=None if self.intensity is None else self.intensity[keep],
            image_labels=None if self.image_labels is None else self.image_labels[keep],
        )


def reach(architecture: ArchitectureConfig) -> float:
    """Half the side of the cube around the sensor, in metres, that the network sees."""
    return architecture.voxel_size * architecture.voxel_extent / 2


def normalize_intensity(intensity: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the rank of each value among those of its sweep, from -1 (lowest) to 1; equal values have equal ranks. 0,
    the middle, where it is not finite.

    The scales of sensors differ (0 to 1, 255 or 65,535), and their curves; the order of strong and weak returns is what
    they have in common.
    """
    ranks = np.zeros(len(intensity), np.float32)
    known = np.flatnonzero(np.isfinite(intensity))
    if not len(known):
        return ranks
    order = known[np.argsort(intensity[known])]
    ascending = intensity[order]
    first = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])  # of each run of equal values
    counts = np.diff(np.r_[first, len(known)])
    ranks[order] = np.repeat((2 * first + counts) / len(known) - 1, counts)
    return ranks


def voxel_channels(architecture: ArchitectureConfig) -> int:
    """F, how many features a voxel has."""
    return {"constant": 1, "offset": 4}[architecture.point_features] + len(architecture.point_inputs)


@dataclass(frozen=True, eq=False)
class Batch:
    """Several frames one after the other: P points, S of them seen by a camera, V occupied voxels, K images.

    images: (K, 3, H, W) uint8 RGB. points: (P, 3) float32 metres, as in ``Sample``.
    seen: (S,) int64 rows of the points that a camera sees. image_of_seen: (S,) int64, the image that each is in.
    uv: (S, 2) float32 pixels of that image, centres at integers.
    voxels: (V, 4) int32 frame, x, y, z, in ascending order. features: (V, F) float32.
    voxel_of_point: (P,) int64 rows of ``voxels``.
    labels: (P,) int64 class ids, 255 = ignore; None when a frame has none.
    frames: their number. names: theirs, in errors.
    image_labels: (P,) int64, those of the image branch where a frame has such; None: ``labels``.
    """

    images: Tensor
    points: Tensor
    seen: Tensor
    image_of_seen: Tensor
    uv: Tensor
    voxels: Tensor
    features: Tensor
    voxel_of_point: Tensor
    labels: Tensor | None
    frames: int
    names: tuple[str, ...] = ()
    image_labels: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on a device, through pinned memory where that is CUDA."""
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {
            name: tensor.pin_memory().to(device, non_blocking=True)
            for name, tensor in vars(self).items()
            if isinstance(tensor, Tensor)
        }
        return replace(self, **moved)


def collate(samples: Sequence[Sample], architecture: ArchitectureConfig) -> Batch:
    """Samples -> one batch on the CPU. Raises SamAdaptError that names two samples whose images differ in size."""
    images = _images_of_one_size(samples)
    frame = np.repeat(np.arange(len(samples)), [len(sample.points) for sample in samples])
    camera = np.concatenate([sample.camera for sample in samples])
    seen = np.flatnonzero(camera >= 0)
    first_image = np.cumsum([0, *(len(sample.images) for sample in samples[:-1])])
    voxels, features, voxel_of_point = zip(*(_voxelize(sample, architecture) for sample in samples), strict=True)
    first_voxel = np.cumsum([0, *map(len, voxels[:-1])])
    with_frame = [np.pad(own, ((0, 0), (1, 0)), constant_values=index) for index, own in enumerate(voxels)]
    own = [s.labels if s.image_labels is None else s.image_labels for s in samples]
    return Batch(
        images=torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2),
        points=torch.from_numpy(np.concatenate([sample.points for sample in samples])),
        seen=torch.from_numpy(seen),
        image_of_seen=torch.from_numpy(camera[seen] + first_image[frame[seen]]),
        uv=torch.from_numpy(np.concatenate([sample.uv for sample in samples])[seen]),
        voxels=torch.from_numpy(np.concatenate(with_frame)),
        features=torch.from_numpy(np.concatenate(features)),
        voxel_of_point=torch.from_numpy(np.concatenate(voxel_of_point) + first_voxel[frame]),
        labels=_joined([sample.labels for sample in samples]),
        frames=len(samples),
        names=tuple(sample.name for sample in samples),
        image_labels=_joined(own) if any(sample.image_labels is not None for sample in samples) else None,
    )


def _images_of_one_size(samples: Sequence[Sample]) -> list[NDArray[np.uint8]]:
    """The images of the samples that have some, at least one array. Raises SamAdaptError."""
    first, *others = [sample for sample in samples if len(sample.images)] or samples[:1]
    for sample in others:
        one, other = (each.images.shape[2:0:-1] for each in (first, sample))
        if one != other:
            raise SamAdaptError(
                f"images of one size expected in a batch, {first.name} has {one[0]} x {one[1]}, {sample.name} "
                f"{other[0]} x {other[1]}: give their data sets the same image or crop"
            )
    return [sample.images for sample in (first, *others)]


def _joined(labels: Sequence[NDArray[np.uint8] | None]) -> Tensor | None:
    """All labels as one tensor; None when one of them is."""
    known = [each for each in labels if each is not None]
    return torch.from_numpy(np.concatenate(known).astype(np.int64)) if len(known) == len(labels) else None


def _voxelize(
    sample: Sample, architecture: ArchitectureConfig
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """(V, 3) occupied voxels of one frame's P points, their (V, F) features, and (P,) the voxel of each point.

    Voxels are counted from the frame's lowest one, in whole cells of the coarsest level, so that a coarse cell holds
    the same space in every frame. Their features are the constant 1, as in xMUDA, and with ``offset`` the mean of the
    voxel's points relative to its centre, scaled to about [-1, 1]: surfaces finer than a voxel (a kerb, a pole) remain
    visible. Then the means of ``point_inputs``: intensity as in the sample (0, the middle, where it is not known), and
    the range, 1 at ``FAR``.
    """
    points = sample.points
    voxels, inverse = voxelize(points, architecture.voxel_size)
    columns: list[NDArray[np.float64] | float] = [1.0]
    if voxel_channels(architecture) > 1:
        count = np.bincount(inverse, minlength=len(voxels))
    if architecture.point_features == "offset":
        cells = points / architecture.voxel_size
        for axis in range(3):
            mean = np.bincount(inverse, cells[:, axis], len(voxels)) / count
            columns.append(2 * (mean - voxels[:, axis]) - 1)
    for name in architecture.point_inputs:
        values = sample.intensity if name == "intensity" else np.linalg.norm(points, axis=1) / FAR
        columns.append(0.0 if values is None else np.bincount(inverse, values, len(voxels)) / count)
    features = np.empty((len(voxels), len(columns)), np.float32)
    for place, column in enumerate(columns):
        features[:, place] = column
    if len(voxels):
        unit = 1 << (architecture.point_levels - 1)
        voxels = voxels - voxels.min(0) // unit * unit
    return voxels.astype(np.int32), features, inverse
