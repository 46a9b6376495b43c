"""The teacher: a network's own predictions made into dense pseudo-labels over all frames of a round."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sam_adapt_ros.config import Config
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.masks.generators import MaskGenerator
from sam_adapt_ros.pseudo_labels import PseudoLabeler
from sam_adapt_ros.pseudo_labels.selection import Candidates, apply_thresholds, candidates, dataset_thresholds
from sam_adapt_ros.pseudo_labels.voxel_voting import to_odometry, vote
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmenter import Prediction, Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

Labels = NDArray[np.uint8]
Pause = Callable[[], None]


@dataclass(frozen=True, eq=False)
class _Heard:
    """What was said of one frame, and where its points are on the map, (N, 3) metres; None where that is not asked."""

    candidates: Candidates
    points_odom: NDArray[np.float32] | None


class TeacherLabels(NamedTuple):
    """(N,) uint8 class ids a frame, 255 = none. training, held_out: pseudo-labels, selected and made denser by masks.
    opinions: of every point of the held-out frames that there is a prediction for, sure or not."""

    training: list[Labels]
    held_out: list[Labels]
    opinions: list[Labels]


class Teacher:
    """Pseudo-labels of a whole set of frames: predictions, votes over time, selection, masks, MLA and GAPP.

    Several networks teach as one: their branches' probabilities are averaged, and fused after. The thresholds of the
    selection are those of the set, as published.
    """

    def __init__(self, config: Config, taxonomy: Taxonomy, generator: MaskGenerator) -> None:
        self.config = config
        self.taxonomy = taxonomy
        self.labeler = PseudoLabeler(config.pseudo_labels, generator, len(taxonomy))
        self.fusion = FUSIONS[config.segmenter.fusion]()

    def label(
        self,
        networks: Sequence[Network],
        training: Sequence[Frame],
        held_out: Sequence[Frame],
        pause: Pause = lambda: None,
    ) -> TeacherLabels:
        """Votes on held-out frames are joined by those on the others, not the other way round; what is trusted there is
        decided by the same thresholds. The networks are left as they are. pause: called frame by frame.
        """
        own, others = (self._listen(networks, frames, pause) for frames in (training, held_out))
        learned_from, opinions = self._voted(own), self._voted(own + others)[len(own) :]
        everything = Candidates(
            np.concatenate([each.labels for each in learned_from] or [np.zeros(0, np.uint8)]),
            np.concatenate([each.probability for each in learned_from] or [np.zeros(0, np.float32)]),
        )
        thresholds = dataset_thresholds(everything, len(self.taxonomy), self.config.pseudo_labels.selection)
        return TeacherLabels(
            self._enhanced(training, learned_from, thresholds, pause),
            self._enhanced(held_out, opinions, thresholds, pause),
            [opinion.labels for opinion in opinions],
        )

    def _listen(self, networks: Sequence[Network], frames: Sequence[Frame], pause: Pause) -> list[_Heard]:
        # How many threads learning takes is not the segmenter's to say.
        settings = self.config.segmenter.model_copy(update={"threads": 0})
        segmenters = [Segmenter(copy.deepcopy(network), self.taxonomy, settings) for network in networks]
        votes = bool(self.config.pseudo_labels.voting_cell)
        heard = []
        for frame in frames:
            pause()
            found = self._joint([segmenter(frame) for segmenter in segmenters])
            heard.append(_Heard(found, to_odometry(frame.points, frame.T_odom_lidar) if votes else None))
        return heard

    def _joint(self, predictions: Sequence[Prediction]) -> Candidates:
        first = predictions[0]
        image = np.stack([prediction.image for prediction in predictions]).mean(0)
        points = np.stack([prediction.points for prediction in predictions]).mean(0)
        fused = first.fused
        if len(predictions) > 1:
            fused = points.copy()
            rows = np.flatnonzero(first.seen)
            logs = (torch.from_numpy(each[rows]).clamp_min(1e-9).log() for each in (image, points))
            fused[rows] = self.fusion(*logs).numpy()
        return candidates(fused, image, points, first.seen, self.config.pseudo_labels.selection)

    def _voted(self, heard: Sequence[_Heard]) -> list[Candidates]:
        cell = self.config.pseudo_labels.voting_cell
        found = [each.candidates for each in heard]
        return vote([each.points_odom for each in heard], found, len(self.taxonomy), cell) if cell else found

    def _enhanced(
        self, frames: Sequence[Frame], found: Sequence[Candidates], thresholds: NDArray[np.float32], pause: Pause
    ) -> list[Labels]:
        """Selection, then masks, frame by frame."""
        labels = []
        for frame, each in zip(frames, found, strict=True):
            pause()
            labels.append(self.labeler.enhanced(frame, apply_thresholds(each, thresholds)).labels)
        return labels


def with_labels(samples: Sequence[Sample], labels: Sequence[Labels]) -> list[Sample]:
    """The samples, labelled with (N,) class ids over their frames' rows."""
    return [replace(sample, labels=each[sample.rows]) for sample, each in zip(samples, labels, strict=True)]
