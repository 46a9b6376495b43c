"""The frames of data sets as samples to train on, each read when it is asked for, as its data set's recipe says."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, overload

import numpy as np

from sam_adapt_ros.config import ArchitectureConfig, RecipeConfig
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.segmentation.batch import ImageSize, Sample

if TYPE_CHECKING:
    from sam_adapt_ros.datasets.dataset import Dataset


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A data set, and how its frames become samples.

    labelled: whether the frames' ``ground_truth`` (true labels, or pseudo-labels) is learned from; a frame without has
        no labelled point. If not, none is looked at.
    """

    dataset: Dataset
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    labelled: bool = True

    def sample(self, index: int, architecture: ArchitectureConfig) -> Sample:
        """The whole sample of a frame, as it is evaluated. Raises what the data set raises."""
        frame = self.dataset[index]
        sample = Sample.from_frame(frame, architecture, size=self._image_size(frame))
        labels = image_labels = None
        if self.labelled:
            labels, image_labels = sample.labels, sample.image_labels
            if labels is None:
                labels = np.full(len(sample.points), IGNORE, np.uint8)
        return replace(sample, labels=labels, image_labels=image_labels, name=self.dataset.ids[index])

    def _image_size(self, frame: Frame) -> ImageSize | None:
        if self.recipe.image != "whole":
            return parse_size(self.recipe.image)
        return (frame.views[0].camera.width, frame.views[0].camera.height) if frame.views else None


class FrameSamples(Sequence[Sample]):
    """The samples of several data sets one after the other, each as often as its recipe says.

    It can be pickled into worker processes.
    """

    def __init__(self, sets: Sequence[TrainingSet], architecture: ArchitectureConfig, seen_only: bool = False) -> None:
        """seen_only: the points that no camera sees are left out."""
        self.sets, self.architecture, self.seen_only = tuple(sets), architecture, seen_only
        self._ends = list(accumulate(len(each.dataset) * each.recipe.repeat for each in sets))
        self._loaded: list[list[Sample]] = []

    @property
    def in_memory(self) -> bool:
        """Whether the samples were read by ``load``, or are read each time."""
        return bool(self._loaded)

    def load(self) -> None:
        """Reads all samples, and keeps them."""
        self._loaded = [[self._read(each, at) for at in range(len(each.dataset))] for each in self.sets]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Raises BagError and TaxonomyError of the data sets."""
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        number, within = self._find(range(len(self))[index])
        return self._loaded[number][within] if self._loaded else self._read(self.sets[number], within)

    def vary(self, index: int, sample: Sample, rng: np.random.Generator) -> Sample:
        """The part of sample number ``index`` that is trained on this time: some of the points, a crop.

        Points are drawn of the whole cloud, as in xMUDA, so that the crop has them as sparse as the cloud does.
        """
        recipe = self.sets[self._find(index)[0]].recipe
        if 0 < recipe.max_points < len(sample.points):
            keep = np.zeros(len(sample.points), bool)
            keep[rng.choice(len(keep), recipe.max_points, replace=False)] = True
            sample = sample.only(keep)
        if size := parse_size(recipe.crop):
            sample = crop_bottom(sample, size, rng)
            sample = sample.only(sample.camera >= 0) if self.seen_only else sample
        return sample

    def _find(self, index: int) -> tuple[int, int]:
        """The number of the set, and the frame in it."""
        number = bisect_right(self._ends, index)
        return number, (index - (self._ends[number - 1] if number else 0)) % len(self.sets[number].dataset)

    def _read(self, each: TrainingSet, index: int) -> Sample:
        sample = each.sample(index, self.architecture)
        return sample.only(sample.camera >= 0) if self.seen_only else sample


def crop_bottom(sample: Sample, size: ImageSize, rng: np.random.Generator) -> Sample:
    """The images' lowest rows, at a random place across, as in xMUDA; an image that is smaller stays as it is along
    that axis. A point outside the crop counts as one that no camera sees."""
    images, camera, uv = [], sample.camera.copy(), sample.uv.copy()
    for index, image in enumerate(sample.images):
        height, width = image.shape[:2]
        left, top = int(rng.random() * (max(0, width - size[0]) + 1)), max(0, height - size[1])
        images.append(image[top:, left : left + size[0]])
        own = np.flatnonzero(sample.camera == index)
        uv[own] -= np.array([left, top], np.float32)
        limits = np.array(images[-1].shape[1::-1]) - 0.5
        camera[own[(uv[own] < -0.5).any(1) | (uv[own] >= limits).any(1)]] = -1
    return replace(sample, images=np.stack(images) if images else sample.images, camera=camera, uv=uv)


def parse_size(text: str) -> ImageSize | None:
    """``400x225`` -> (400, 225); "" -> None."""
    width, _, height = text.partition("x")
    return (int(width), int(height)) if text else None
