"""Runs all variants frame by frame; predictions, masks and selections are computed once and shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.benchmarks.ablation.parallax import parallax_points
from sam_adapt_ros.benchmarks.ablation.variants import Variant
from sam_adapt_ros.config import VisibilityConfig
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import Projection, project
from sam_adapt_ros.geometry.visibility import visible
from sam_adapt_ros.masks import MaskGenerator, MaskSet, SeenPoints
from sam_adapt_ros.pipelines.bag_pseudo_labels import BagPseudoLabels
from sam_adapt_ros.pseudo_labels.generator import enhance_seen
from sam_adapt_ros.pseudo_labels.selection import apply_thresholds


class Measured(NamedTuple):
    """Label statistics of one variant on one frame.

    seen: over the points that a camera sees. parallax: over the points that fall on a mask only by parallax; None
    where true instances are unknown.
    """

    seen: LabelStatistics
    parallax: LabelStatistics | None


class Bench:
    """Runs the variants on the frames of one drive; the thresholds of a selection are computed over the whole drive."""

    def __init__(
        self,
        variants: Sequence[Variant],
        generators: Mapping[str, MaskGenerator],
        visibility: VisibilityConfig,
        drive: BagPseudoLabels,
    ) -> None:
        """generators: by the names that ``Variant.generator`` uses."""
        self._variants = tuple(variants)
        self._generators = generators
        self._visibility = visibility
        self._drive = drive
        selections = {variant.selection for variant in self._variants}
        self._thresholds = {each: drive.generator.thresholds(drive.voted, each) for each in selections}

    def labels(self, place: int, frame: Frame) -> list[NDArray[np.uint8]]:
        """(N,) uint8 pseudo-labels of each variant. place: index of the frame in the drive."""
        prediction, voted = self._drive.predictions[place], self._drive.voted[place]
        selected = {
            each: prediction.to_frame(apply_thresholds(voted, thresholds), IGNORE)
            for each, thresholds in self._thresholds.items()
        }
        masks = _Masks(frame, self._generators, self._visibility, selected[self._variants[0].selection])
        return [self._run(variant, selected[variant.selection], masks) for variant in self._variants]

    def measure(self, place: int, frame: Frame) -> list[Measured]:
        """Statistics of ``labels``, of each variant."""
        prediction = self._drive.predictions[place]
        seen = prediction.to_frame(prediction.seen, False)
        parallax = parallax_points(frame) if frame.ground_truth is not None else None
        return [
            Measured(
                self._count(labels, frame, seen),
                None if parallax is None else self._count(labels, frame, parallax & seen),
            )
            for labels in self.labels(place, frame)
        ]

    def _run(self, variant: Variant, selected: NDArray[np.uint8], masks: _Masks) -> NDArray[np.uint8]:
        if variant.enhancement is None:
            return selected
        labels = selected.copy()
        for seen, mask_set in masks(variant.generator, variant.visible):
            enhance_seen(labels, seen, mask_set, variant.enhancement)
        return labels

    def _count(self, labels: NDArray[np.uint8], frame: Frame, among: NDArray[np.bool_]) -> LabelStatistics:
        statistics = LabelStatistics(self._drive.generator.classes)
        statistics.add(labels, frame.ground_truth, among)
        return statistics


class _Masks:
    """The masks of a frame by generator, with or without hidden points; computed on first use."""

    def __init__(
        self,
        frame: Frame,
        generators: Mapping[str, MaskGenerator],
        visibility: VisibilityConfig,
        selected: NDArray[np.uint8],
    ) -> None:
        self._frame = frame
        self._generators = generators
        self._visibility = visibility
        self._selected = selected
        self._projections: list[Projection] = [project(frame.points, view) for view in frame.views]
        self._seen: dict[bool, list[SeenPoints]] = {}
        self._computed: dict[tuple[str, bool], list[tuple[SeenPoints, MaskSet]]] = {}

    def __call__(self, generator: str, only_visible: bool) -> list[tuple[SeenPoints, MaskSet]]:
        """Seen points and masks per view, in the order of the frame's views."""
        key = generator, only_visible
        if key not in self._computed:
            make = self._generators[generator]
            self._computed[key] = [
                (seen, make(view, seen, self._selected[seen.index]))
                for view, seen in zip(self._frame.views, self._seen_points(only_visible), strict=True)
            ]
        return self._computed[key]

    def _seen_points(self, only_visible: bool) -> list[SeenPoints]:
        if only_visible not in self._seen:
            self._seen[only_visible] = [
                SeenPoints.of(
                    self._frame.points,
                    projection,
                    visible(projection, view, self._visibility) if only_visible else None,
                )
                for view, projection in zip(self._frame.views, self._projections, strict=True)
            ]
        return self._seen[only_visible]
