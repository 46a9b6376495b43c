"""What a data set is to the rest of the package: a sequence of frames that is read when asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.image_files import read_image
from sam_adapt_ros.datasets.recording import LIDAR, Recording, SensorFile, SweepFormat
from sam_adapt_ros.datasets.selection import Selection
from sam_adapt_ros.errors import BagError, TaxonomyError
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.transforms import Transform, invert
from sam_adapt_ros.messages.calibration_file import CameraCalibration
from sam_adapt_ros.messages.point_cloud import intensity_of
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy


class Dataset(Sequence[Frame]):
    """Frames by their place: ``len(dataset)``, ``dataset[i]``, ``dataset.ids[i]``.

    Only ``[i]`` opens the files of a frame, and it closes them again: a data set can be pickled into worker processes,
    and any of its frames can be read there, in any order. ``[i]`` raises BagError, or TaxonomyError at an id that the
    class set does not know, either of which names the file, what was expected and what came.

    name: of the data set, as ``open_dataset`` takes it. splits: names of the parts that it can be opened by.
    """

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """A name for each frame, ``<recording>/<frame>``, the same on every machine and for any choice of frames."""

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Frame number ``index``, from 0 up to the length."""

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        places = range(len(self))[index]  # raises IndexError
        return self.frame(places) if isinstance(places, int) else [self.frame(place) for place in places]


class RecordingDataset(Dataset):
    """The frames of recordings: what ``SensorFile.frame`` says belongs together.

    recordings: what conversion to bags takes. left_out: names of recordings that were to be opened, but are not whole.
    cameras: whose images the frames have, in this order. mapping: of the
    class sets, from the data set's ids.
    """

    mapping: ClassVar[str]
    left_out: tuple[str, ...] = ()

    def __init__(
        self, recordings: Sequence[Recording], taxonomy: Taxonomy | None, selection: Selection = Selection()
    ) -> None:
        """taxonomy: the class set of the ground truth; None: there is none. selection: names the cameras.

        Raises TaxonomyError when the class set has no mapping of the data set, and BagError when no recording has one
        of the cameras, or when two frames have one id.
        """
        if taxonomy is not None:
            taxonomy.lookup(self.mapping)
        self.recordings, self.taxonomy = tuple(recordings), taxonomy
        known = dict.fromkeys(name for recording in recordings for name in recording.calibration.cameras)
        self.cameras = tuple(selection.of_cameras(known, self.name) if known else ())
        self._frames = [files for recording in self.recordings for files in self._frames_of(recording)]
        self._ids = [f"{files.recording.name}/{files.sweep.frame}" for files in self._frames]
        if len(set(self._ids)) < len(self._ids):
            twice = next(each for place, each in enumerate(self._ids) if each in self._ids[:place])
            raise BagError(f"{self.name}: two frames are {twice}, of the roots or recordings given")
        self._formats: dict[str, SweepFormat] = {}

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def frame(self, index: int) -> Frame:
        recording, file, images = self._frames[index]
        calibration = recording.calibration
        sweep = self._format_of(recording).read(file)
        T_base_lidar, T_odom_base = calibration.T_base_lidar, file.T_odom_base
        return Frame(
            stamp_ns=file.stamp_ns,
            frame_id=LIDAR,
            points=sweep.points,
            views=tuple(_view(image, calibration.cameras[image.sensor], file, T_base_lidar) for image in images),
            ground_truth=self._classes(file.labels, sweep.labels),
            T_odom_lidar=None if T_odom_base is None else T_odom_base @ T_base_lidar,
            T_base_lidar=T_base_lidar,
            intensity=intensity_of(sweep.fields),
        )

    def _frames_of(self, recording: Recording) -> list[_FrameFiles]:
        """The frames in the order of their sweeps."""
        images: dict[tuple[str, str], SensorFile] = {
            (file.frame, file.sensor): file for file in recording.files if file.frame and file.sensor != LIDAR
        }
        return [
            _FrameFiles(
                recording,
                sweep,
                tuple(images[sweep.frame, name] for name in self.cameras if (sweep.frame, name) in images),
            )
            for sweep in recording.sweeps
            if sweep.frame
        ]

    def _format_of(self, recording: Recording) -> SweepFormat:
        """How the recording's sweeps are, found out when the first of them is read."""
        if recording.name not in self._formats:
            self._formats[recording.name] = recording.sweep_format.fitted(recording.sweeps, Notices())
        return self._formats[recording.name]

    def _classes(self, path: Path | None, raw: NDArray[np.integer] | None) -> NDArray[np.uint8] | None:
        if raw is None or self.taxonomy is None:
            return None
        try:
            return self.taxonomy.classes_of(raw, self.mapping, setting="")
        except TaxonomyError as error:
            raise TaxonomyError(f"{path}: {error}") from None


class _FrameFiles(NamedTuple):
    recording: Recording
    sweep: SensorFile
    images: tuple[SensorFile, ...]


def _view(image: SensorFile, camera: CameraCalibration, sweep: SensorFile, T_base_lidar: Transform) -> CameraView:
    """The vehicle's poses at both stamps are chained, where they are known."""
    T_base_base = np.eye(4)
    if image.T_odom_base is not None and sweep.T_odom_base is not None:
        T_base_base = invert(image.T_odom_base) @ sweep.T_odom_base
    return CameraView(
        name=image.sensor,
        stamp_ns=image.stamp_ns,
        image=read_image(image.path, camera.model),
        camera=camera.model,
        T_camera_lidar=invert(camera.T_base_camera) @ T_base_base @ T_base_lidar,
        frame_id=camera.frame_id,
    )
