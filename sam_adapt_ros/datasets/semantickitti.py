"""SemanticKITTI (Behley et al., "SemanticKITTI: A Dataset for Semantic Scene Understanding of LiDAR Sequences", ICCV
2019): KITTI's odometry benchmark with a label for every point.

Layout, of PRBonn/semantic-kitti-api and KITTI's odometry development kit: ``sequences/00`` to ``21``, each with
``velodyne/000000.bin`` (float32 x y z remission), ``labels/000000.label`` (uint32, the class in the lower 16 bits, the
instance in the upper ones; none in 11 to 21), ``image_2/000000.png``, ``calib.txt`` (P0 to P3, Tr), ``times.txt`` and
``poses.txt`` (of the left grey camera; KITTI has them in ``poses/00.txt``).

Frames of reference are those of ``kitti_raw``. Scan, image and pose of one number are of one stamp: the benchmark's
scans have the vehicle's motion undone. ``times.txt`` counts from the sequence's start, which is the first second here,
since a stamp of zero says in ROS that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.dataset import RecordingDataset
from sam_adapt_ros.datasets.files import image_size, numbered_files, read_file
from sam_adapt_ros.datasets.kitti_files import (
    CAMERAS,
    T_BASE_LIDAR,
    field,
    read_calibration_file,
    read_rows,
    rectified_camera,
    rigid_rows,
)
from sam_adapt_ros.datasets.recording import BASE, LIDAR, ODOMETRY, Recording, SensorFile, label_colors
from sam_adapt_ros.datasets.scan_rows import KITTI_FIELDS, ScanRows
from sam_adapt_ros.datasets.selection import Selection, split_members
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.geometry.transforms import Transform, invert
from sam_adapt_ros.messages.calibration_file import Calibration
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

START_NS = SECOND
_SEQUENCES = ("", "sequences", "dataset/sequences")  # below a root
_DIGITS = 6
_IMAGES = (".png", ".jpg", ".jpeg")
_LONGEST = 86_400.0  # seconds; a sequence is 8 minutes


class SemanticKitti(RecordingDataset):
    """SemanticKITTI, and KITTI's odometry benchmark, whose sequences have no labels."""

    name = "semantickitti"
    mapping = "semantickitti"
    SPLITS: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": ("00", "01", "02", "03", "04", "05", "06", "09", "10"),
        "val": ("07",),
        "test": ("08",),
        "hidden_test": tuple(f"{number:02d}" for number in range(11, 22)),
    }
    """As valeoai/xmuda_journal has them (``xmuda/data/semantic_kitti/splits.py``)."""
    splits = tuple(SPLITS)

    def __init__(
        self,
        roots: Sequence[str | Path],
        selection: Selection = Selection(),
        taxonomy: Taxonomy | None = None,
        notices: Notices | None = None,
    ) -> None:
        """roots: folders with ``sequences`` in them, or that are it; images, scans and labels of a sequence may be in
        different ones. notices: is told what is left out or missing.

        Raises BagError that names what is missing or malformed.
        """
        notices = Notices() if notices is None else notices
        folders: dict[str, list[Path]] = {}
        for root in map(Path, roots):
            for folder in _sequence_folders(root):
                folders.setdefault(folder.name, []).append(folder)
        where = ", ".join(map(str, roots))
        if not folders:
            raise BagError(f"{where}: no sequences: SemanticKITTI's folders sequences/00, sequences/01, ... expected")
        members = split_members(self.SPLITS, selection.split, self.name)
        chosen = selection.choose(sorted(folders), members, where, notices)
        recordings = [_Sequence(folders[name], selection, notices).read() for name in chosen]
        super().__init__(recordings, taxonomy, selection)


def read_labels(path: Path) -> NDArray[np.uint32]:
    """(N,) class ids of a ``.label`` file. Raises BagError that names it when it is not uint32 throughout."""
    data = read_file(path)
    if len(data) % 4:
        raise BagError(f"{path}: labels of 4 bytes expected, got {len(data)} bytes")
    return np.frombuffer(data, "<u4") & np.uint32(0xFFFF)


def _sequence_folders(root: Path) -> list[Path]:
    """The folders 00, 01, ... below a root. Raises BagError when there is no such root."""
    if not root.is_dir():
        raise BagError(f"{root}: no such folder")
    for below in _SEQUENCES:
        if found := sorted(path for path in (root / below).glob("[0-9][0-9]") if path.is_dir()):
            return found
    return []


class _Sequence:
    """One sequence, whose files and folders are each in one of several folders of its name."""

    def __init__(self, folders: Sequence[Path], selection: Selection, notices: Notices) -> None:
        self._name, self._folders = folders[0].name, folders
        self._selection, self._notices = selection, notices

    def read(self) -> Recording:
        scans = self._numbered("velodyne", (".bin",))
        folders = {name: f"image_{int(number)}" for number, name in CAMERAS.items()}
        wanted = self._selection.of_cameras(folders, self._folders[0])
        found = {name: self._of_scans(scans, folders[name], _IMAGES) for name in wanted}
        images = {name: files for name, files in found.items() if files}
        if not images:
            self._notices.add(f"no_images:{self._name}", f"{self._path('image_2')}: is missing: no frame has an image")
        labels = self._of_scans(scans, "labels", (".label",))
        needed = [*images.values(), labels] if labels else [*images.values()]
        numbers = [number for number in scans if all(number in files for files in needed)]
        if not numbers:
            raise BagError(f"{self._folders[0]}: no scan has its image and its labels")
        T_cam0_lidar, calibration = self._calibration({name: min(files.values()) for name, files in images.items()})
        stamps, poses = self._stamps(scans), self._poses(scans, T_cam0_lidar)
        files: list[SensorFile] = []
        for number in numbers:
            frame, stamp, pose = f"{number:0{_DIGITS}d}", stamps[number], poses.get(number)
            files += [SensorFile(stamp, name, of[number], pose, frame=frame) for name, of in images.items()]
            files.append(SensorFile(stamp, LIDAR, scans[number], pose, labels.get(number), frame))
        colors = label_colors("a2d2_semantickitti10", "semantickitti")
        return Recording(self._name, calibration, files, ScanRows(KITTI_FIELDS, read_labels), label_colors=colors)

    def _path(self, name: str) -> Path:
        """Of a file or folder of the sequence: the one that is there."""
        return next((folder / name for folder in self._folders if (folder / name).exists()), self._folders[0] / name)

    def _numbered(self, name: str, suffixes: Sequence[str]) -> dict[int, Path]:
        return numbered_files(self._path(name), suffixes, self._notices, _DIGITS)

    def _of_scans(self, scans: Mapping[int, Path], name: str, suffixes: Sequence[str]) -> dict[int, Path]:
        """The files in a folder, one for each scan; none where there is no such folder."""
        if not self._path(name).is_dir():
            return {}
        files = self._numbered(name, suffixes)
        if missing := [number for number in scans if number not in files]:
            text = f"{self._path(name)}: {len(missing)} of {len(scans)} files are missing, one a scan expected"
            first = f"{missing[0]:0{_DIGITS}d}{suffixes[0]}"
            self._selection.leave_out(f"missing:{self._name}_{name}", f"{text}: {first}, ...", self._notices)
        return {number: files[number] for number in scans if number in files}

    def _calibration(self, images: Mapping[str, Path]) -> tuple[Transform, Calibration]:
        """``T_cam0_lidar``, and the calibration. images: one of each camera; the calibration file has no sizes."""
        path = self._path("calib.txt")
        values = read_calibration_file(path)
        T_cam0_lidar = rigid_rows(values, "Tr", path)
        numbers = {name: int(number) for number, name in CAMERAS.items()}
        cameras = {
            name: rectified_camera(
                name,
                field(values, f"P{numbers[name]}", (3, 4), path),
                image_size(read_file(image), image)[:2],
                T_cam0_lidar,
                path,
                f"P{numbers[name]}",
            )
            for name, image in images.items()
        }
        return T_cam0_lidar, Calibration(LIDAR, BASE, ODOMETRY, T_BASE_LIDAR, cameras)

    def _stamps(self, scans: Mapping[int, Path]) -> dict[int, int]:
        """By number [ns]."""
        path = self._path("times.txt")
        seconds = read_rows(path, 1, scans)
        for number, (value,) in seconds.items():
            if not 0 <= value < _LONGEST:
                raise BagError(f"{path}:{number + 1}: seconds since the sequence's start expected, got {value:g}")
        return {number: START_NS + round(value * SECOND) for number, (value,) in seconds.items()}

    def _poses(self, scans: Mapping[int, Path], T_cam0_lidar: Transform) -> dict[int, Transform]:
        """``T_odom_base`` by number, odom being base at the sequence's start; empty where they are not known."""
        path = self._path("poses.txt")
        if not path.is_file():
            above = [folder.parents[1] / "poses" / f"{self._name}.txt" for folder in self._folders]
            path = next((each for each in above if each.is_file()), path)
        if not path.is_file():
            self._notices.add(f"no_poses:{self._name}", f"{path}: is missing: the poses of its frames are not known")
            return {}
        T_cam0_base = T_cam0_lidar @ invert(T_BASE_LIDAR)
        T_base_cam0 = invert(T_cam0_base)
        poses = {}
        for number, row in read_rows(path, 12, scans).items():
            T = rigid_rows({"pose": row}, "pose", Path(f"{path}:{number + 1}"))
            poses[number] = T_base_cam0 @ T @ T_cam0_base
        return poses
