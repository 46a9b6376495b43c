"""A frame and a prediction -> pseudo-labels: selection, then each camera's masks, then MLA and propagation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import EnhancementConfig, PseudoLabelConfig
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.geometry.visibility import visible
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints
from sam_adapt_ros.pseudo_labels.mask_label_assignment import MaskRecord, enhance
from sam_adapt_ros.pseudo_labels.selection import Selector

if TYPE_CHECKING:
    from sam_adapt_ros.masks.generators import MaskGenerator
    from sam_adapt_ros.segmentation.segmenter import Prediction


@dataclass(frozen=True, eq=False)
class CameraMasks:
    """One camera's part: which points it saw, on which masks they fell, what became of each mask."""

    name: str
    seen: SeenPoints
    masks: MaskSet
    records: tuple[MaskRecord, ...]


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """The stages of one frame, all (N,) uint8 class ids over the frame's points, 255 = ignore.

    selected: the trusted predictions. labels: after the masks, propagated as configured. direct: after the same masks
    with direct propagation, for comparison; None unless asked for.
    cameras: in the order of the frame's views. timings: seconds by stage.
    """

    selected: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    direct: NDArray[np.uint8] | None
    cameras: tuple[CameraMasks, ...]
    timings: dict[str, float]

    def stages(self) -> dict[str, NDArray[np.uint8]]:
        """Name -> labels, in the order they are made."""
        direct = {} if self.direct is None else {"direct": self.direct}
        return {"selected": self.selected, **direct, "labels": self.labels}


class PseudoLabeler:
    """Pseudo-labels for a stream of frames; its only memory is the selection's running histogram (``selector``)."""

    def __init__(self, config: PseudoLabelConfig, generator: MaskGenerator, classes: int | None = None) -> None:
        """classes: size of the class set; None: as wide as the first prediction."""
        self.config = config
        self.generator = generator
        self.selector = None if classes is None else Selector(classes, config.selection)

    def __call__(
        self, frame: Frame, prediction: Prediction, *, learn: bool = True, compare: bool = False
    ) -> PseudoLabels:
        """learn: whether the frame enters the running histogram. compare: whether ``direct`` is made as well.

        A point that several cameras see goes through the masks of each, in the order of the views.
        """
        start = time.perf_counter()
        selected = self._select(prediction, learn)
        return self.enhanced(frame, selected, compare=compare, select_s=time.perf_counter() - start)

    def enhanced(
        self, frame: Frame, selected: NDArray[np.uint8], *, compare: bool = False, select_s: float = 0.0
    ) -> PseudoLabels:
        """What masks make of labels that were selected elsewhere, (N,) uint8. select_s: how long that took."""
        timings = {"select": select_s, "masks": 0.0, "enhance": 0.0}
        labels = selected.copy()
        direct = selected.copy() if compare else None
        cameras = []
        for view in frame.views:
            start = time.perf_counter()
            seen = self._seen(frame, view)
            masks = self.generator(view, seen, labels[seen.index])
            timings["masks"] += time.perf_counter() - start
            start = time.perf_counter()
            records = _enhance_seen(labels, seen, masks, self.config.enhancement)
            timings["enhance"] += time.perf_counter() - start
            if direct is not None:
                _enhance_seen(direct, seen, masks, self.config.enhancement.model_copy(update={"propagation": "direct"}))
            cameras.append(CameraMasks(view.name, seen, masks, records))
        return PseudoLabels(selected, labels, direct, tuple(cameras), timings)

    def _select(self, prediction: Prediction, learn: bool) -> NDArray[np.uint8]:
        if self.selector is None:
            self.selector = Selector(prediction.fused.shape[1], self.config.selection)
        return self.selector(prediction.fused, prediction.image, prediction.points, prediction.seen, learn=learn)

    def _seen(self, frame: Frame, view: CameraView) -> SeenPoints:
        projection = project(frame.points, view)
        shown = visible(projection, view, self.config.visibility) if self.config.visibility.enabled else None
        return SeenPoints.of(frame.points, projection, shown)


def _enhance_seen(
    labels: NDArray[np.uint8], seen: SeenPoints, masks: MaskSet, config: EnhancementConfig
) -> tuple[MaskRecord, ...]:
    """Enhances the labels of the points that a camera sees, in place."""
    points = np.ascontiguousarray(seen.points[seen.index], np.float32)
    result = enhance(points, labels[seen.index], masks.membership, masks.areas, config)
    labels[seen.index] = result.labels
    return result.masks
