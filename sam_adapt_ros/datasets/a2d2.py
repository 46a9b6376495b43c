"""A2D2 (Geyer et al., "A2D2: Audi Autonomous Driving Dataset", arXiv 2004.06320, 2020): its semantic segmentation set,
of the camera ahead (``front_center``) and the points that it sees.

Layout, of the data set's README-SemSeg.txt and tutorial, and of valeoai/xmuda_journal (``xmuda/data/a2d2``): folders
such as ``20180807_145028``, below a root or below ``camera_lidar_semantic`` in it, each with
``camera/cam_front_center/20180807145028_camera_frontcenter_000001617.png`` and ``.json``,
``lidar/cam_front_center/20180807145028_lidar_frontcenter_000001617.npz`` and
``label/cam_front_center/20180807145028_label_frontcenter_000001617.png``; ``class_list.json`` (``#rrggbb``: name) and
``cams_lidars.json`` beside them or above.

* Clouds (``points``, ``row``, ``col``, ``reflectance``, ...; ``pcloud_points``, ``pcloud_attr.row``, ... in the other
  sets) hold the points that the camera sees, moved to the image's time, in the camera's *view*: x forward, y left,
  z up. ``row`` and ``col`` are in the image without distortion; as in the tutorial they are rounded.
* Images and labels are distorted. A frame has the image with its distortion undone (to ``CamMatrix``, as in the
  tutorial and in xMUDA), a bag has the file and the camera's distortion. Labels are looked up where the lens puts the
  point, so that no colours are mixed.
* Stamps are the images' (``cam_tstamp``, microseconds of atomic time).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sam_adapt_ros.datasets.a2d2_sensors import (
    FrontCamera,
    View,
    read_front_camera,
    read_json,
    read_label_colors,
)
from sam_adapt_ros.datasets.array_files import numbers, read_npz
from sam_adapt_ros.datasets.dataset import RecordingDataset
from sam_adapt_ros.datasets.image_files import LabelColors, read_image
from sam_adapt_ros.datasets.recording import BASE, FRONT, LIDAR, ODOMETRY, Recording, SensorFile, Sweep, label_colors
from sam_adapt_ros.datasets.selection import Selection, listed, split_members
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.frame import IGNORE, CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.geometry.transforms import T_BODY_OPTICAL, invert, transform_points
from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.messages.stamps import LATEST_NS
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

_BELOW = ("", "camera_lidar_semantic")  # a root
_RECORDING = re.compile(r"[0-9]{8}_[0-9]{6}")
_CLOUD = re.compile(r"[0-9]{14}_lidar_frontcenter_([0-9]+)\.npz")
_CAMERA = "cam_front_center"
_FIELDS = ("row", "col", "reflectance", "valid")
_RATE = 30  # Hz, of the cameras: what frames are numbered by
_SAME = 1e-3  # metres, and of unit vectors


class A2D2(RecordingDataset):
    """The frames of ``front_center``."""

    name = "a2d2"
    mapping = "a2d2"
    SPLITS: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": (
            *("20180810_142822", "20180925_101535", "20180925_112730", "20180925_124435", "20180925_135056"),
            *("20181008_095521", "20181016_082154", "20181016_125231", "20181107_132300", "20181107_132730"),
            *("20181107_133258", "20181107_133445", "20181108_084007", "20181108_091945", "20181108_103155"),
            *("20181108_123750", "20181108_141609", "20181204_135952", "20181204_154421", "20181204_170238"),
        ),
        "test": ("20180807_145028",),
    }
    """As valeoai/xmuda_journal has them (``xmuda/data/a2d2/splits.py``). Two more recordings have no LiDAR."""
    splits = tuple(SPLITS)

    def __init__(
        self,
        roots: Sequence[str | Path],
        selection: Selection = Selection(),
        taxonomy: Taxonomy | None = None,
        notices: Notices | None = None,
    ) -> None:
        """roots: folders with recordings, or with ``camera_lidar_semantic``; recordings may be in different ones.
        notices: is told what is left out or guessed.

        Raises BagError that names what is missing or malformed.
        """
        notices = Notices() if notices is None else notices
        where = ", ".join(map(str, roots))
        folders = _recordings([Path(root) for root in roots], where, notices)
        members = split_members(self.SPLITS, selection.split, self.name)
        chosen = selection.choose(sorted(folders), members, where, notices)
        recordings = [_Folder(folders[name], selection, notices).read() for name in chosen]
        super().__init__(recordings, taxonomy, selection)

    def frame(self, index: int) -> Frame:
        """With the image's distortion undone."""
        frame = super().frame(index)
        clouds = self._frames[index].recording.sweep_format
        assert isinstance(clouds, Clouds)
        views = tuple(_undistorted(view, clouds.camera.undistorted) for view in frame.views)
        return replace(frame, views=views)


@dataclass(frozen=True, eq=False)
class Clouds:
    """How A2D2's clouds and labels are read. colors: None where there are no labels."""

    camera: FrontCamera
    colors: LabelColors | None

    def fitted(self, files: Sequence[SensorFile], notices: Notices) -> Clouds:
        return self

    def read(self, file: SensorFile) -> Sweep:
        arrays = _read_cloud(file.path)
        points = numbers(arrays["points"], (-1, 3), f"{file.path}: points").astype(np.float32)
        if "valid" in arrays:
            valid = numbers(arrays["valid"].astype(np.uint8), (len(points),), f"{file.path}: valid")
            points[valid == 0] = np.nan  # no measurement
        fields = dict(zip("xyz", points.T, strict=True))
        if "reflectance" in arrays:
            intensity = numbers(arrays["reflectance"], (len(points),), f"{file.path}: reflectance")
            fields["intensity"] = intensity.astype(np.float32)
        return Sweep(fields, None if file.labels is None else self._labels(file, arrays, points))

    def _labels(
        self, file: SensorFile, arrays: Mapping[str, NDArray[Any]], points: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """(N,) places in ``CLASSES``, 255 = the point is outside the image."""
        assert file.labels is not None and self.colors is not None
        image = read_image(file.labels, self.camera.original)
        if "row" in arrays and "col" in arrays:
            places = (numbers(arrays[name], (len(points),), f"{file.path}: {name}") for name in ("col", "row"))
            uv: NDArray[Any] = np.column_stack([*places])
        else:  # files without returns
            uv, _, _ = self.camera.undistorted.project(transform_points(invert(T_BODY_OPTICAL), points))
        rays = self.camera.undistorted.unproject(uv, 1.0)
        pixels, _, seen = self.camera.original.project(rays)
        u, v = np.rint(pixels[seen]).astype(np.int64).T
        labels = np.full(len(points), IGNORE, np.uint8)
        labels[seen] = self.colors.ids_of(image[v, u], file.labels)
        return labels


def _read_cloud(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by their names in the semantic set. Raises BagError when there are no points."""
    prefixed = {"pcloud_points": "points"} | {f"pcloud_attr.{name}": name for name in _FIELDS}
    arrays = read_npz(path, ("points", *_FIELDS, *prefixed))
    arrays = {prefixed.get(name, name): values for name, values in arrays.items()}
    if "points" not in arrays:
        raise BagError(f"{path}: an array points expected, got none")
    return arrays


def _undistorted(view: CameraView, model: CameraModel) -> CameraView:
    """The view with its image as ``model`` (of the same size) has it."""
    given = view.camera
    if not given.D:
        return replace(view, camera=model)
    image = cv2.undistort(view.image, given.K, np.array(given.D), newCameraMatrix=model.K)
    return replace(view, image=np.asarray(image, np.uint8), camera=model)


def _recordings(roots: Sequence[Path], where: str, notices: Notices) -> dict[str, Path]:
    """The folders of recordings by name. Raises BagError when a root is missing, or when there are none."""
    found: dict[str, Path] = {}
    without: list[str] = []
    for root in roots:
        if not root.is_dir():
            raise BagError(f"{root}: no such folder")
        folders = [path for below in _BELOW for path in (root / below).glob("*_*") if _RECORDING.fullmatch(path.name)]
        for folder in sorted(folders):
            if not (folder / "lidar" / _CAMERA).is_dir():
                without.append(folder.name)
            elif found.setdefault(folder.name, folder) != folder:
                raise BagError(f"{folder}: is the recording of {found[folder.name]} again; give one of the two roots")
    if not found:
        raise BagError(f"{where}: no recordings: A2D2's folders 20180807_145028, ... with lidar/{_CAMERA} expected")
    if without:
        notices.add("without_lidar", f"{where}: {listed(without)} have no lidar/{_CAMERA}; left out")
    return found


class _Folder:
    """A recording's folder."""

    def __init__(self, folder: Path, selection: Selection, notices: Notices) -> None:
        self._folder, self._selection, self._notices = folder, selection, notices

    def read(self) -> Recording:
        beside = (self._folder.parent, self._folder.parent.parent)
        sensors = read_front_camera(beside)
        self._selection.of_cameras((FRONT,), self._folder)
        labelled = (self._folder / "label" / _CAMERA).is_dir()
        colors = read_label_colors(beside) if labelled else None
        clouds = self._clouds()
        images, labels = self._of_clouds(clouds, "camera"), self._of_clouds(clouds, "label") if labelled else {}
        whole = [number for number in clouds if number in images and (not labelled or number in labels)]
        stamps = self._stamps(images, sensors)
        files: list[SensorFile] = []
        for number in sorted(whole, key=stamps.__getitem__):
            frame, stamp = f"{number:09d}", stamps[number]
            files.append(SensorFile(stamp, FRONT, images[number], None, frame=frame))
            files.append(SensorFile(stamp, LIDAR, clouds[number], None, labels.get(number), frame))
        if not files:
            raise BagError(f"{self._folder}: no frame has all its files")
        camera = CameraCalibration(FRONT, sensors.T_vehicle_view @ T_BODY_OPTICAL, sensors.original)
        calibration = Calibration(LIDAR, BASE, ODOMETRY, sensors.T_vehicle_view, {FRONT: camera})
        shown = label_colors("a2d2_semantickitti10", A2D2.mapping)
        return Recording(self._folder.name, calibration, files, Clouds(sensors, colors), label_colors=shown)

    def _clouds(self) -> dict[int, Path]:
        """By the frame's number. Raises BagError when there are none."""
        folder = self._folder / "lidar" / _CAMERA
        matched = ((path, _CLOUD.fullmatch(path.name)) for path in sorted(folder.iterdir()))
        clouds = {int(match[1]): path for path, match in matched if match}
        if not clouds:
            raise BagError(f"{folder}: no files {self._folder.name.replace('_', '')}_lidar_frontcenter_000000000.npz")
        return clouds

    def _of_clouds(self, clouds: Mapping[int, Path], what: str) -> dict[int, Path]:
        """The images or labels, one for each cloud."""
        folder = self._folder / what / _CAMERA
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        names = {number: path.name.replace("_lidar_", f"_{what}_")[:-4] + ".png" for number, path in clouds.items()}
        if missing := [name for name in names.values() if name not in there]:
            text = f"{folder}: {len(missing)} of {len(clouds)} files are missing, one a cloud expected"
            self._selection.leave_out(
                f"missing:{self._folder.name}_{what}", f"{text}: {missing[0]}, ...", self._notices
            )
        return {number: folder / name for number, name in names.items() if name in there}

    def _stamps(self, images: Mapping[int, Path], sensors: FrontCamera) -> dict[int, int]:
        """Of the images [ns]; where a recording lacks its JSON files, by the frames' numbers."""
        infos = {number: path.with_suffix(".json") for number, path in images.items()}
        if missing := [path for path in infos.values() if not path.is_file()]:
            text = f"{missing[0]}: is missing: stamps are the frames' numbers at {_RATE} Hz"
            self._notices.add(f"stamps:{self._folder.name}", text)
            return {number: SECOND + number * SECOND // _RATE for number in images}
        return {number: _read_stamp(path, sensors) for number, path in infos.items()}


def _read_stamp(path: Path, sensors: FrontCamera) -> int:
    """The stamp [ns] in an image's JSON file. Raises BagError that names file and field, also when the cloud is not in
    the camera's view."""
    info = read_json(path)
    stamp = info.get("cam_tstamp") if isinstance(info, dict) else None
    if not isinstance(stamp, int) or not 0 < stamp < LATEST_NS // 1000:
        raise BagError(f"{path}: cam_tstamp: microseconds expected, got {str(stamp)[:40]}")
    try:
        view = View.model_validate(info["pcld_view"]).transform(f"{path}: pcld_view")
    except (KeyError, ValidationError):
        raise BagError(f"{path}: pcld_view: origin, x-axis and y-axis of three numbers expected") from None
    if np.abs(view - sensors.T_vehicle_view).max() > _SAME:
        raise BagError(f"{path}: pcld_view: the view of cameras.front_center expected, got {info['pcld_view']}")
    return stamp * 1000
