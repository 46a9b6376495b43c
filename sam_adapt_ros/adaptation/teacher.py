"""The teacher: a network's own predictions made into dense pseudo-labels over all frames of a round."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.voting import to_odometry, vote
from sam_adapt_ros.config import Config
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.masks.generators import MaskGenerator
from sam_adapt_ros.pseudo_labels import PseudoLabeler
from sam_adapt_ros.pseudo_labels.selection import Candidates, apply_thresholds, candidates, dataset_thresholds
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmenter import Prediction, Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

Labels = NDArray[np.uint8]
Pause = Callable[[], None]


class Teacher:
    """Pseudo-labels of a whole set of frames: predictions, votes over time, selection, masks, MLA and GAPP.

    The thresholds of the selection are those of the set, as published.
    """

    def __init__(self, config: Config, taxonomy: Taxonomy, generator: MaskGenerator) -> None:
        self.config = config
        self.taxonomy = taxonomy
        self.labeler = PseudoLabeler(config.pseudo_labels, generator, len(taxonomy))

    def label(self, network: Network, sets: Sequence[Sequence[Frame]], pause: Pause = lambda: None) -> list[Labels]:
        """(N,) uint8 class ids a frame of one set after the other, 255 = none.

        Sets share thresholds, not votes. The network is left as it is. pause: called frame by frame.
        """
        found = [each for frames in sets for each in self.candidates(network, frames, pause)]
        return self.enhance((frame for frames in sets for frame in frames), found, pause)

    def candidates(self, network: Network, frames: Sequence[Frame], pause: Pause = lambda: None) -> list[Candidates]:
        """What the network says of the frames' points, after the votes over time."""
        segmenter = Segmenter(copy.deepcopy(network), self.taxonomy, self.config.segmenter)
        found, points_odom = [], []
        cell = self.config.adaptation.teacher.vote_cell
        for frame in frames:
            pause()
            found.append(self._candidates(segmenter(frame)))
            points_odom.append(to_odometry(frame.points, frame.T_odom_lidar) if cell else None)
        return vote(points_odom, found, len(self.taxonomy), cell) if cell else found

    def enhance(
        self, frames: Iterable[Frame], found: Sequence[Candidates], pause: Pause = lambda: None
    ) -> list[Labels]:
        """Selection over all frames, then masks frame by frame."""
        everything = Candidates(
            np.concatenate([each.labels for each in found] or [np.zeros(0, np.uint8)]),
            np.concatenate([each.probability for each in found] or [np.zeros(0, np.float32)]),
        )
        thresholds = dataset_thresholds(everything, len(self.taxonomy), self.config.pseudo_labels.selection)
        labels = []
        for frame, each in zip(frames, found, strict=True):
            pause()
            labels.append(self.labeler.enhanced(frame, apply_thresholds(each, thresholds)).labels)
        return labels

    def _candidates(self, prediction: Prediction) -> Candidates:
        return candidates(
            prediction.fused, prediction.image, prediction.points, prediction.seen, self.config.pseudo_labels.selection
        )


def with_labels(samples: Sequence[Sample], labels: Sequence[Labels]) -> list[Sample]:
    """The samples, labelled with (N,) class ids over their frames' rows."""
    return [replace(sample, labels=each[sample.rows]) for sample, each in zip(samples, labels, strict=True)]
