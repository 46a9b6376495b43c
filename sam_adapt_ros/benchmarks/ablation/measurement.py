"""All variants on one frame after another. What they share (prediction, masks, selections) is made once a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.benchmarks.ablation.parallax import parallax_points
from sam_adapt_ros.benchmarks.ablation.variants import Variant
from sam_adapt_ros.config import VisibilityConfig
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.projection import Projection, project
from sam_adapt_ros.geometry.visibility import visible
from sam_adapt_ros.masks import MaskGenerator, MaskSet, SeenPoints
from sam_adapt_ros.pseudo_labels import Selector, enhance
from sam_adapt_ros.segmentation import Prediction


class Measured(NamedTuple):
    """One variant on one frame: over the points that a camera sees, and over those that only parallax puts on a mask
    (None where true instances are not known)."""

    seen: LabelStatistics
    parallax: LabelStatistics | None


class Bench:
    """Runs the variants over a drive's frames, in order: each selection has a running histogram of its own."""

    def __init__(
        self,
        variants: Sequence[Variant],
        generators: Mapping[str, MaskGenerator],
        visibility: VisibilityConfig,
        classes: int,
    ) -> None:
        """generators: by the names that the variants use."""
        self._variants = tuple(variants)
        self._generators = generators
        self._visibility = visibility
        self._classes = classes
        self._selectors = {variant.selection: Selector(classes, variant.selection) for variant in self._variants}

    def labels(self, frame: Frame, prediction: Prediction) -> list[NDArray[np.uint8]]:
        """(N,) pseudo-labels by each variant; takes the frame into the running histograms."""
        selected = {config: self._select(selector, prediction) for config, selector in self._selectors.items()}
        masks = _Masks(frame, self._generators, self._visibility, selected[self._variants[0].selection])
        return [self._run(variant, selected[variant.selection], masks) for variant in self._variants]

    def measure(self, frame: Frame, prediction: Prediction) -> list[Measured]:
        """``labels``, counted, by each variant."""
        seen = prediction.seen
        astray = parallax_points(frame) if frame.ground_truth is not None else None
        return [
            Measured(
                self._count(labels, frame, seen), None if astray is None else self._count(labels, frame, astray & seen)
            )
            for labels in self.labels(frame, prediction)
        ]

    def _select(self, selector: Selector, prediction: Prediction) -> NDArray[np.uint8]:
        return selector(prediction.fused, prediction.image, prediction.points, prediction.seen)

    def _run(self, variant: Variant, selected: NDArray[np.uint8], masks: _Masks) -> NDArray[np.uint8]:
        if variant.enhancement is None:
            return selected
        labels = selected.copy()
        for seen, found in masks(variant.generator, variant.visible):
            points = np.ascontiguousarray(seen.points[seen.index])
            labels[seen.index] = enhance(
                points, labels[seen.index], found.membership, found.areas, variant.enhancement
            ).labels
        return labels

    def _count(self, labels: NDArray[np.uint8], frame: Frame, among: NDArray[np.bool_]) -> LabelStatistics:
        statistics = LabelStatistics(self._classes)
        statistics.add(labels, frame.ground_truth, among)
        return statistics


class _Masks:
    """A frame's masks, by generator and with or without hidden points; made when first asked for."""

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
        self._made: dict[tuple[str, bool], list[tuple[SeenPoints, MaskSet]]] = {}

    def __call__(self, generator: str, only_visible: bool) -> list[tuple[SeenPoints, MaskSet]]:
        """One a view, in the order of the frame's views."""
        key = generator, only_visible
        if key not in self._made:
            make = self._generators[generator]
            self._made[key] = [
                (seen, make(view, seen, self._selected[seen.index]))
                for view, seen in zip(self._frame.views, self._seen_points(only_visible), strict=True)
            ]
        return self._made[key]

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
