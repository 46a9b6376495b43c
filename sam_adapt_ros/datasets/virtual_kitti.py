"""Virtual KITTI 1.3.1 (Gaidon et al., "Virtual Worlds as Proxy for Multi-Object Tracking Analysis", CVPR 2016), with
the point files of vkitti3D (Engelmann et al., "Exploring Spatial Context for 3D Semantic Segmentation of Point Clouds",
ICCV workshops 2017).

Layout, of the data set's page, of VisualComputingInstitute/vkitti3D-dataset (``tools/create_npy.py``) and of
valeoai/xmuda_journal (``xmuda/data/virtual_kitti``); a scene is ``0001``, a weather ``clone``, a frame ``00000``:

* ``vkitti_1.3.1_rgb/0001/clone/00000.png``: the image. Its intrinsics are the same everywhere: 725, 725, 620.5, 187 at
  1242 x 375; where images have been made smaller, theirs follow.
* ``vkitti3d_npy/0001/00000.npy`` (or ``vkitti_npy``): N x 7 numbers, x y z (metres from the camera, x forward, y left,
  z up), r g b, label. They are made of ``clone``; a scene has the same geometry in all weathers.
* Where there are no point files, points are made as vkitti3D's tool makes them (its first version): of
  ``vkitti_1.3.1_depthgt/0001/clone/00000.png`` (16 bit, centimetres along the optical axis), up to 100 m, with the
  classes of ``vkitti_1.3.1_scenegt/0001/clone/00000.png``. Its colours are explained by
  ``vkitti_1.3.1_scenegt/0001_clone_scenegt_rgb_encoding.txt`` (``Car:12 200 200 200``), in which every vehicle of a
  scene has a colour of its own.
* ``vkitti_1.3.1_extrinsicsgt/0001_clone.txt``: frame number, 4 x 4 numbers world -> camera.

A recording is a scene in a weather (``0001_clone``). The vehicle's frame is at the camera, whose height nobody states;
stamps are the frames' numbers at 10 Hz. Variations of the camera's direction (``15-deg-left``, ...) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sam_adapt_ros.datasets.array_files import numbers, read_npy
from sam_adapt_ros.datasets.dataset import RecordingDataset
from sam_adapt_ros.datasets.files import image_size, numbered_files, read_file, read_text
from sam_adapt_ros.datasets.image_files import Color, LabelColors, read_image
from sam_adapt_ros.datasets.recording import BASE, FRONT, LIDAR, ODOMETRY, Recording, SensorFile, Sweep, label_colors
from sam_adapt_ros.datasets.selection import Selection, split_members
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.geometry.transforms import T_BODY_OPTICAL, Transform, invert, is_rotation
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

SCENES = ("0001", "0002", "0006", "0018", "0020")
WEATHERS = ("clone", "fog", "morning", "overcast", "rain", "sunset")
CATEGORIES = (
    *("Terrain", "Tree", "Vegetation", "Building", "Road", "GuardRail", "TrafficSign", "TrafficLight", "Pole", "Misc"),
    *("Truck", "Car", "Van", "Don't care"),
)
"""By the labels of vkitti3D, by which class sets' mappings ``vkitti`` name them."""
INTRINSICS = CameraModel(1242, 375, np.array([[725.0, 0, 620.5], [0, 725.0, 187.0], [0, 0, 1]]))
MAX_RANGE = 100.0
"""Metres beyond which vkitti3D cuts points off; the sky is beyond it."""
_SKY = "Sky"
_NPY = ("vkitti3d_npy", "vkitti_npy")
_DIGITS = 5
_RATE = 10  # Hz, KITTI's
_SAME_SHAPE = 0.01  # of the images' height over width


class VirtualKitti(RecordingDataset):
    """All frames of all scenes in each of six weathers: the random weather of xMUDA's recipe, in expectation."""

    name = "virtual_kitti"
    mapping = "vkitti"
    SPLITS: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": tuple(f"{scene}_{weather}" for scene in SCENES for weather in WEATHERS),
        "mini": tuple(f"0002_{weather}" for weather in WEATHERS),
    }
    """Scenes as in valeoai/xmuda_journal (``xmuda/data/virtual_kitti/splits.py``)."""
    splits = tuple(SPLITS)

    def __init__(
        self,
        roots: Sequence[str | Path],
        selection: Selection = Selection(),
        taxonomy: Taxonomy | None = None,
        notices: Notices | None = None,
    ) -> None:
        """roots: folders with ``vkitti_1.3.1_rgb`` and the others in them; each may be in a different one. notices: is
        told what is left out or guessed.

        Raises BagError that names what is missing or malformed.
        """
        notices = Notices() if notices is None else notices
        where = ", ".join(map(str, roots))
        for root in roots:
            if not Path(root).is_dir():
                raise BagError(f"{root}: no such folder")
        folders = [Path(root) for root in roots]
        there = [name for name in self.SPLITS["train"] if _find(folders, f"vkitti_1.3.1_rgb/{name.replace('_', '/')}")]
        if not there:
            raise BagError(f"{where}: no images: Virtual KITTI's folders vkitti_1.3.1_rgb/0001/clone, ... expected")
        chosen = selection.choose(there, split_members(self.SPLITS, selection.split, self.name), where, notices)
        selection.of_cameras((FRONT,), where)
        super().__init__([_Drive(folders, name, selection, notices).read() for name in chosen], taxonomy, selection)


@dataclass(frozen=True)
class PointFiles:
    """vkitti3D's files: points and labels in one."""

    def fitted(self, files: Sequence[SensorFile], notices: Notices) -> PointFiles:
        return self

    def read(self, file: SensorFile) -> Sweep:
        rows = numbers(read_npy(file.path), (-1, 7), f"{file.path}: rows of x y z r g b label")
        labels = rows[:, 6]
        if ((labels % 1 != 0) | (labels < 0) | (labels > 255)).any():  # not a number is neither
            raise BagError(f"{file.path}: labels from 0 to {len(CATEGORIES) - 1} expected, got {labels.max()}")
        return Sweep(dict(zip("xyz", rows[:, :3].astype(np.float32).T, strict=True)), labels.astype(np.uint8))


@dataclass(frozen=True)
class DepthImages:
    """Points of depth images, with the labels of colours. camera: of the images. colors: 255 is the sky's label."""

    camera: CameraModel
    colors: LabelColors

    def fitted(self, files: Sequence[SensorFile], notices: Notices) -> DepthImages:
        return self

    def read(self, file: SensorFile) -> Sweep:
        assert file.labels is not None
        depth = read_image(file.path, self.camera, np.uint16) / 100.0
        colors = read_image(file.labels, self.camera).reshape(-1, 3)
        v, u = np.indices(depth.shape).reshape(2, -1)
        x, y, z = self.camera.unproject(np.column_stack([u, v]), depth.ravel()).T
        near = np.sqrt(x * x + y * y + z * z) < MAX_RANGE
        fields = {"x": z[near], "y": -x[near], "z": -y[near]}
        labels = self.colors.ids_of(colors[near], file.labels)
        return Sweep({name: values.astype(np.float32) for name, values in fields.items()}, labels)


def read_colors(path: Path) -> LabelColors:
    """The labels of a scene's colours in a weather. Raises BagError that names file and line."""
    labels = {name: label for label, name in enumerate(CATEGORIES)} | {_SKY: 255}
    ids: dict[Color, int] = {}
    for number, line in enumerate(read_text(path).splitlines()[1:], start=2):
        if not (words := line.split()):
            continue
        category, levels = words[0].partition(":")[0], [int(word) for word in words[1:] if word.isdecimal()]
        if category not in labels or len(words) != 4 or len(levels) != 3 or max(levels) > 255:
            raise BagError(f"{path}:{number}: a category of Virtual KITTI and r g b expected, got {line[:60]!r}")
        ids[levels[0], levels[1], levels[2]] = labels[category]
    if not ids:
        raise BagError(f"{path}: lines such as 'Road 100 60 100' expected, got none")
    return LabelColors(path, ids)


def read_poses(path: Path) -> dict[int, Transform]:
    """``T_world_base`` by frame number. Raises BagError that names file and line."""
    poses = {}
    for number, line in enumerate(read_text(path).splitlines()[1:], start=2):
        if not line.strip():
            continue
        try:
            frame, *words = line.split()
            place, T = int(frame), np.array([float(word) for word in words]).reshape(4, 4)
        except ValueError:
            raise BagError(f"{path}:{number}: a frame number and 16 numbers expected, got {line[:60]!r}") from None
        if not is_rotation(T[:3, :3]) or not np.isfinite(T).all():
            raise BagError(f"{path}:{number}: a pose world -> camera expected, got {line[:60]!r}")
        poses[place] = invert(T) @ invert(T_BODY_OPTICAL)
    return poses


def _find(roots: Sequence[Path], name: str) -> Path | None:
    return next((root / name for root in roots if (root / name).exists()), None)


class _Drive:
    """A scene in a weather."""

    def __init__(self, roots: Sequence[Path], name: str, selection: Selection, notices: Notices) -> None:
        self._roots, self._name, self._selection, self._notices = roots, name, selection, notices
        self._scene, self._weather = name.split("_")

    def read(self) -> Recording:
        images = self._numbered(self._folder("rgb"), ".png")
        camera = self._camera(next(iter(images.values())))
        npy = next((found for each in _NPY if (found := _find(self._roots, f"{each}/{self._scene}"))), None)
        points, labels, sweep_format = self._points(images, npy, camera)
        poses = self._poses(images)
        files: list[SensorFile] = []
        for number in (each for each in images if each in points and each in labels):
            stamp, frame = SECOND + number * SECOND // _RATE, f"{number:0{_DIGITS}d}"
            files.append(SensorFile(stamp, FRONT, images[number], poses.get(number), frame=frame))
            files.append(SensorFile(stamp, LIDAR, points[number], poses.get(number), labels[number], frame))
        if not files:
            raise BagError(f"{self._folder('rgb')}: no frame has its points")
        cameras = {FRONT: CameraCalibration(FRONT, T_BODY_OPTICAL, camera)}
        calibration = Calibration(LIDAR, BASE, ODOMETRY, np.eye(4), cameras)
        shown = label_colors("vkitti_semantickitti6", VirtualKitti.mapping)
        return Recording(self._name, calibration, files, sweep_format, label_colors=shown)

    def _points(
        self, images: Mapping[int, Path], npy: Path | None, camera: CameraModel
    ) -> tuple[dict[int, Path], dict[int, Path], PointFiles | DepthImages]:
        """Files of points and labels by number, and how they are read."""
        if npy is not None:
            points = self._of_images(images, npy, ".npy")
            return points, points, PointFiles()
        depth, labels = (self._of_images(images, self._folder(kind), ".png") for kind in ("depthgt", "scenegt"))
        name = f"vkitti_1.3.1_scenegt/{self._name}_scenegt_rgb_encoding.txt"
        colors = read_colors(_find(self._roots, name) or self._roots[0] / name)
        return depth, labels, DepthImages(camera, colors)

    def _folder(self, kind: str) -> Path:
        name = f"vkitti_1.3.1_{kind}/{self._scene}/{self._weather}"
        return _find(self._roots, name) or self._roots[0] / name

    def _numbered(self, folder: Path, suffix: str) -> dict[int, Path]:
        return numbered_files(folder, (suffix,), self._notices, _DIGITS)

    def _of_images(self, images: Mapping[int, Path], folder: Path, suffix: str) -> dict[int, Path]:
        """The files in a folder, one for each image."""
        files = self._numbered(folder, suffix)
        if missing := [number for number in images if number not in files]:
            text = f"{folder}: {len(missing)} of {len(images)} files are missing, one an image expected"
            first = f"{missing[0]:0{_DIGITS}d}{suffix}"
            key = f"missing:{folder.parent.name}_{folder.name}"
            self._selection.leave_out(key, f"{text}: {first}, ...", self._notices)
        return {number: files[number] for number in images if number in files}

    def _camera(self, image: Path) -> CameraModel:
        """By the size of the images. Raises BagError when they have been cut to another shape."""
        width, height, _ = image_size(read_file(image), image)
        if (width, height) == (INTRINSICS.width, INTRINSICS.height):
            return INTRINSICS
        expected = f"{INTRINSICS.width} x {INTRINSICS.height}"
        if abs(height / width / (INTRINSICS.height / INTRINSICS.width) - 1) > _SAME_SHAPE:
            raise BagError(f"{image}: {expected} or of that shape expected, got {width} x {height}")
        self._notices.add("scaled", f"{image}: {expected} expected, got {width} x {height}: the intrinsics are scaled")
        return INTRINSICS.scaled(width, height)

    def _poses(self, images: Mapping[int, Path]) -> dict[int, Transform]:
        """``T_odom_base`` by number, odom being base at the first frame; empty where they are not known."""
        name = f"vkitti_1.3.1_extrinsicsgt/{self._name}.txt"
        path = _find(self._roots, name)
        if path is None:
            text = f"{self._roots[0] / name}: is missing: the poses of its frames are not known"
            self._notices.add(f"no_poses:{self._name}", text)
            return {}
        poses = read_poses(path)
        if missing := [number for number in images if number not in poses]:
            text = f"{path}: {len(missing)} of {len(images)} frames, such as {missing[0]}, are missing"
            self._notices.add(f"no_poses:{self._name}", f"{text}: their poses are not known")
        return {number: invert(poses[min(poses)]) @ T for number, T in poses.items()}
