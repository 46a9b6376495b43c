"""The one way from frames to pseudo-labels: predict, vote, select, densify with masks.

Adapter, command line and benchmarks all use it, so that what they show is what is learned from. The method is that of
Yang, Lu, Kim: SAM-guided Pseudo Label Enhancement for Multi-modal 3D Semantic Segmentation (ICRA 2025, arXiv
2502.00960): sparse pseudo-labels, selected class by class over the whole set of frames as in xMUDA (Jaritz et al., CVPR
2020), are made denser by class-agnostic masks, with Mask Label Assignment and Geometry-Aware Progressive Propagation.
The ensemble of several networks and the vote of sweeps on the same place are ours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import EnhancementConfig, PseudoLabelConfig, SelectionConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.frame import IGNORE, CameraView
from sam_adapt_ros.masks import MaskGenerator
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints
from sam_adapt_ros.pseudo_labels.mask_label_assignment import MaskRecord, enhance
from sam_adapt_ros.pseudo_labels.prepared_frame import PreparedFrame
from sam_adapt_ros.pseudo_labels.selection import Candidates, apply_thresholds, candidates, dataset_thresholds
from sam_adapt_ros.pseudo_labels.voxel_voting import vote
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.fusion import Fusion, fuse
from sam_adapt_ros.segmentation.logits import infer
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class FramePrediction:
    """What the ensemble predicts of one frame's P finite points.

    candidates: its winning classes and their probabilities, (P,) each. points_odom: (P, 3) metres along the odometry
    frame's axes from ``origin_odom``, None where the pose is not known or sweeps do not vote; that origin is nearby,
    so that float32 will do. seen: (P,) bool, by a camera. rows: (P,) int64 rows of the frame's N points. count: N.
    """

    candidates: Candidates
    points_odom: NDArray[np.float32] | None
    seen: NDArray[np.bool_]
    rows: NDArray[np.int64]
    count: int
    origin_odom: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def to_frame(self, values: NDArray, fill: float) -> NDArray:
        """(P,) values of the finite points -> (N,) of all points, ``fill`` elsewhere."""
        spread = np.full(self.count, fill, values.dtype)
        spread[self.rows] = values
        return spread


class Selection(NamedTuple):
    """Of one frame, (N,) over its points; class ids are uint8, 255 = none.

    labels: the predictions that are trusted. ensemble: the winning class of every point that has a prediction, trusted
    or not. probability: float32, of ``ensemble``.
    """

    labels: Labels
    ensemble: Labels
    probability: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CameraMasks:
    """One camera's part: the points that it sees, the masks they fall on, and what became of each mask."""

    name: str
    seen: SeenPoints
    masks: MaskSet
    records: tuple[MaskRecord, ...]


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """The stages of one frame, all (N,) uint8 class ids over the frame's points, 255 = ignore.

    selected: the predictions that selection keeps. labels: after the masks, propagated as configured.
    direct: after the same masks with direct propagation, for comparison; None unless requested.
    cameras: in the order of the frame's views. timings: seconds by stage.
    """

    selected: Labels
    labels: Labels
    direct: Labels | None
    cameras: tuple[CameraMasks, ...]
    timings: dict[str, float]

    def stages(self) -> dict[str, Labels]:
        """Name -> labels, in the order in which they are made."""
        direct = {} if self.direct is None else {"direct": self.direct}
        return {"selected": self.selected, **direct, "labels": self.labels}


class PseudoLabelGenerator:
    """Makes pseudo-labels of a set of frames; no state is kept from one set to the next.

    The three steps are separate because each needs the one before it of *all* frames, while only the last needs the
    full-size images: ``predict`` every frame, ``select`` over all of them, ``densify`` every frame.
    """

    def __init__(self, config: PseudoLabelConfig, masks: MaskGenerator, fusion: Fusion, classes: int) -> None:
        """fusion: how the branches' probabilities become one. classes: size of the class set."""
        self.config = config
        self.masks = masks
        self.fusion = fusion
        self.classes = classes

    def predict(self, networks: Sequence[SegmentationNetwork], frame: PreparedFrame) -> FramePrediction:
        """The ensemble's prediction of a frame, and where its points are when sweeps vote."""
        sample = frame.sample
        (found,) = self.candidates(networks, sample, [self.config.selection])
        points_odom = frame.points_odom if self.config.voting_cell else None
        if points_odom is None:
            return FramePrediction(found, None, sample.camera >= 0, sample.rows, frame.count)
        origin = points_odom.mean(axis=0).round() if len(points_odom) else np.zeros(3)
        nearby = (points_odom - origin).astype(np.float32)
        return FramePrediction(found, nearby, sample.camera >= 0, sample.rows, frame.count, origin)

    @torch.inference_mode()
    def candidates(
        self, networks: Sequence[SegmentationNetwork], sample: Sample, selections: Sequence[SelectionConfig]
    ) -> list[Candidates]:
        """What each of several selections may choose from, (P,) over the sample's points.

        The networks' probabilities are averaged a branch at a time, and then fused.
        """
        batch = collate([sample], networks[0].architecture).to(next(networks[0].parameters()).device)
        outputs = [infer(each, batch) for each in networks]
        image, points = (torch.stack(each).mean(0) for each in zip(*(o.probabilities() for o in outputs), strict=True))
        logits = outputs[0]._replace(image=image.clamp_min(1e-9).log(), points=points.clamp_min(1e-9).log())
        fused = fuse(self.fusion, logits)
        by_image = points.new_zeros(points.shape).index_copy(0, logits.seen, image)
        seen = np.zeros(len(sample.points), bool)
        seen[logits.seen.cpu().numpy()] = True
        arrays = fused.cpu().numpy(), by_image.cpu().numpy(), points.cpu().numpy(), seen
        return [candidates(*arrays, selection) for selection in selections]

    def check_branches(self, network: SegmentationNetwork) -> None:
        """Raises ConfigError when predictions are to be selected by a branch that the network does not have."""
        wanted, selection = set(NETWORK_BRANCHES), self.config.selection
        if not selection.require_agreement:
            wanted &= {Branch(selection.branch)}
        if lacking := sorted(wanted - set(network.branches)):
            name = "require_agreement" if selection.require_agreement else "branch"
            raise ConfigError(
                f"pseudo_labels.selection.{name}: the network {network.architecture.network} has no {lacking[0]} branch"
            )

    def select(
        self, training: Sequence[FramePrediction], held_out: Sequence[FramePrediction] = ()
    ) -> tuple[list[Selection], list[Selection]]:
        """The selected predictions of the training frames and of the held-out frames.

        Sweeps vote on the places that they share; the thresholds are computed from all training frames. Held-out frames
        do not influence the training frames: all frames vote on them, and the same thresholds select.
        """
        training_voted = self.voted(training)
        held_out_voted = self.voted([*training, *held_out])[len(training) :] if held_out else []
        thresholds = self.thresholds(training_voted)
        return (
            [self._selection(*each, thresholds) for each in zip(training, training_voted, strict=True)],
            [self._selection(*each, thresholds) for each in zip(held_out, held_out_voted, strict=True)],
        )

    def voted(self, predictions: Sequence[FramePrediction]) -> list[Candidates]:
        """The candidates after the vote of all sweeps, where sweeps vote."""
        found, cell = [each.candidates for each in predictions], self.config.voting_cell
        if not cell:
            return found
        points = [None if each.points_odom is None else each.points_odom + each.origin_odom for each in predictions]
        return vote(points, found, self.classes, cell)

    def thresholds(self, found: Sequence[Candidates], selection: SelectionConfig | None = None) -> NDArray[np.float32]:
        """(C,) thresholds of a selection, by default the configured one, over all frames together."""
        together = Candidates(
            np.concatenate([each.labels for each in found] or [np.zeros(0, np.uint8)]),
            np.concatenate([each.probability for each in found] or [np.zeros(0, np.float32)]),
        )
        return dataset_thresholds(together, self.classes, selection or self.config.selection)

    def densify(
        self,
        views: Sequence[CameraView],
        seen: Sequence[SeenPoints],
        selected: Labels,
        *,
        compare_direct: bool = False,
    ) -> PseudoLabels:
        """Selected labels made denser by each camera's masks, (N,) over the frame's points.

        A point that several cameras see goes through the masks of each, in the order of the views.
        compare_direct: whether ``PseudoLabels.direct`` is made as well. Raises MaskError.
        """
        timings = {"masks": 0.0, "enhance": 0.0}
        labels = selected.copy()
        direct = selected.copy() if compare_direct else None
        cameras = []
        for view, points in zip(views, seen, strict=True):
            start = time.perf_counter()
            masks = self.masks(view, points, labels[points.index])
            made = time.perf_counter()
            records = enhance_seen(labels, points, masks, self.config.enhancement)
            timings["masks"] += made - start
            timings["enhance"] += time.perf_counter() - made
            if direct is not None:
                how = self.config.enhancement.model_copy(update={"propagation": "direct"})
                enhance_seen(direct, points, masks, how)
            cameras.append(CameraMasks(view.name, points, masks, records))
        return PseudoLabels(selected, labels, direct, tuple(cameras), timings)

    def _selection(self, frame: FramePrediction, voted: Candidates, thresholds: NDArray[np.float32]) -> Selection:
        trusted = apply_thresholds(voted, thresholds)
        return Selection(
            frame.to_frame(trusted, IGNORE), frame.to_frame(voted.labels, IGNORE), frame.to_frame(voted.probability, 0)
        )


def enhance_seen(labels: Labels, seen: SeenPoints, masks: MaskSet, config: EnhancementConfig) -> tuple[MaskRecord, ...]:
    """Enhances the labels, (N,), of the points that one camera sees, in place."""
    points = np.ascontiguousarray(seen.points[seen.index], np.float32)
    result = enhance(points, labels[seen.index], masks.membership, masks.areas, config)
    labels[seen.index] = result.labels
    return result.masks
