"""The live view, in Rerun: clouds, images with the points over them, and the learning curve, of several models side by
side.

The only module that knows Rerun (extra ``view``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.frame import IGNORE, CameraView, Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.geometry.transforms import transform_points
from sam_adapt_ros.io.outputs import output_errors
from sam_adapt_ros.taxonomy import Taxonomy

APPLICATION = "sam_adapt_ros"
IMAGE_WIDTH = 960  # pixels; wider images are scaled down, so that a recording stays small
JPEG_QUALITY = 85
POINT_SIZE = 2.0  # of the viewer's pixels
CURVE_COLORS = ((140, 140, 140), (31, 119, 180), (44, 160, 44), (214, 39, 40))


def has_display() -> bool:
    """Whether there is a screen to open the viewer on."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def file_or_viewer(output: Path | None, otherwise: Path) -> Path | None:
    """The .rrd file to write, None to open the viewer instead. Without a display that is ``otherwise``.

    Raises ConfigError without Rerun, so that no work begins in vain.
    """
    _import_rerun()
    return otherwise if output is None and not has_display() else output


class RerunView:
    """Shows frames one after the other, in the viewer or in an .rrd file; a context manager.

    Entities, of each layer (``source``, ``adapted`` and so on) and camera: ``<layer>/cloud``, the points in the
    vehicle's frame, where that is known; ``cameras/<camera>/image`` and, over it, ``cameras/<camera>/<layer>``;
    ``curve/<layer>``; ``events``. Timelines: ``frame``, counted from 0, and ``stamp``, the sweep's.

    frames: how many were shown; the number of the next one.
    """

    def __init__(self, taxonomy: Taxonomy, layers: Mapping[str, str], title: str, output: Path | None = None) -> None:
        """layers: title by name, in the order of the screen. output: an .rrd file; None: the viewer is opened.

        Raises ConfigError without Rerun, OutputError where the file cannot be written.
        """
        self._rerun, self._taxonomy, self._layers = _import_rerun(), taxonomy, dict(layers)
        self._cameras: list[str] | None = None
        self._title, self._output = title, output
        self._stream: Any = self._rerun.RecordingStream(APPLICATION)
        self.frames = 0

    def __enter__(self) -> RerunView:
        rr = self._rerun
        if self._output is None:
            self._stream.spawn()
        else:
            with output_errors(self._output):
                self._output.parent.mkdir(parents=True, exist_ok=True)
                self._partial.touch()
            self._stream.save(self._partial)
        self._stream.send_recording_name(self._title)
        classes = [
            (*each, tuple(map(int, self._taxonomy.palette[each[0]]))) for each in enumerate(self._taxonomy.classes)
        ]
        grey = tuple(map(int, self._taxonomy.colors[IGNORE]))
        self._stream.log("/", rr.AnnotationContext([*classes, (IGNORE, "no label", grey)]), static=True)
        self._stream.log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for color, (name, title) in zip(CURVE_COLORS, self._layers.items(), strict=False):
            self._stream.log(f"curve/{name}", rr.SeriesLines(colors=[color], names=[title]), static=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()
        self._stream.disconnect()
        if self._output is not None:
            with output_errors(self._output):
                self._partial.replace(self._output)  # what was shown until an interruption is there to be seen

    def show(self, frame: Frame, labels: Mapping[str, NDArray[np.uint8]], curve: Mapping[str, float]) -> None:
        """One frame. labels: (N,) class ids by layer. curve: values of the learning curve by layer, NaN for none."""
        rr, stream = self._rerun, self._stream
        new = [view.name for view in frame.views if view.name not in (self._cameras or ())]
        if new or self._cameras is None:
            self._cameras = [*(self._cameras or ()), *new]
            stream.send_blueprint(self._blueprint(self._cameras))
        stream.set_time("frame", sequence=self.frames)
        stream.set_time("stamp", timestamp=np.datetime64(frame.stamp_ns, "ns"))
        finite = np.isfinite(frame.points).all(1)
        points = frame.points[finite]
        if frame.T_base_lidar is not None:
            points = transform_points(frame.T_base_lidar, points).astype(np.float32)
        for layer, ids in labels.items():
            stream.log(f"{layer}/cloud", rr.Points3D(points, **self._style(ids[finite])))
        for view in frame.views:
            self._show_image(frame, view, labels)
        for layer, value in curve.items():
            if np.isfinite(value):
                stream.log(f"curve/{layer}", rr.Scalars(value))
        self.frames += 1

    def say(self, text: str) -> None:
        """An event, such as the gate's decision, at the present frame."""
        self._stream.log("events", self._rerun.TextLog(text))

    @property
    def _partial(self) -> Path:
        assert self._output is not None
        return self._output.with_name(f".{self._output.name}.partial")

    def _style(self, ids: NDArray[np.uint8]) -> dict[str, Any]:
        return {
            "colors": self._taxonomy.colors[ids],
            "class_ids": ids.astype(np.uint16),
            "radii": self._rerun.Radius.ui_points(POINT_SIZE),
        }

    def _show_image(self, frame: Frame, view: CameraView, labels: Mapping[str, NDArray[np.uint8]]) -> None:
        rr, (height, width) = self._rerun, view.image.shape[:2]
        scale = min(1.0, IMAGE_WIDTH / width)
        image = view.image
        if scale < 1:
            image = np.asarray(cv2.resize(image, (IMAGE_WIDTH, round(height * scale)), interpolation=cv2.INTER_AREA))
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        place = f"cameras/{view.name}"
        self._stream.log(f"{place}/image", rr.EncodedImage(contents=data.tobytes(), media_type="image/jpeg"))
        projection = project(frame.points, view)
        for layer, ids in labels.items():
            shown = projection.valid & (ids != IGNORE)
            uv = (projection.uv[shown] + 0.5) * scale  # Rerun's pixels begin at their corner
            self._stream.log(f"{place}/{layer}", rr.Points2D(uv, **self._style(ids[shown])))

    def _blueprint(self, cameras: Sequence[str]) -> Any:
        import rerun.blueprint as rrb

        rows: list[Any] = [
            rrb.Horizontal(*(rrb.Spatial3DView(origin=f"/{name}", name=t) for name, t in self._layers.items()))
        ]
        if cameras:
            beside = [
                rrb.Horizontal(
                    *(
                        rrb.Spatial2DView(
                            origin=f"/cameras/{camera}",
                            contents=[f"/cameras/{camera}/image", f"/cameras/{camera}/{name}"],
                            name=f"{title}, {camera}",
                        )
                        for name, title in self._layers.items()
                    ),
                    name=camera,
                )
                for camera in cameras
            ]
            rows.append(beside[0] if len(beside) == 1 else rrb.Tabs(*beside))
        curve = rrb.TimeSeriesView(origin="/curve", name="Mean IoU over the last frames, where a camera sees")
        rows.append(rrb.Horizontal(curve, rrb.TextLogView(origin="/events", name="Decisions"), column_shares=[3, 1]))
        shares = [3, 2, 1] if cameras else [3, 1]
        return rrb.Blueprint(rrb.Vertical(*rows, row_shares=shares), collapse_panels=True)


def _import_rerun() -> ModuleType:
    try:
        import rerun
    except ImportError as error:
        raise ConfigError(
            f"the view needs Rerun, which cannot be imported ({error}): pip install 'sam_adapt_ros[view]'"
        ) from None
    return rerun
