"""The promotion criteria: what a candidate must show on held-out frames before it may replace the weights in use.

Each criterion is a function that returns its refusals, in words, with the number found and the one required; an empty
list means that the candidate passes. None of them needs true labels but ``labelled_replay``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sam_adapt_ros.adaptation.promotion.candidate_metrics import CandidateMetrics
from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.config import GateConfig

MIN_SOURCE_AGREEMENT = 0.9  # share of the points of which the source is confident, ...
SOURCE_AGREEMENT_TOLERANCE = 0.05  # ... or this much less than BatchNorm alone agrees on, whichever is lower, ...
SOURCE_AGREEMENT_FLOOR = 0.75  # ... but never less than this
MIN_CLASS_AGREEMENT = 0.5  # of each class's confident points, ...
CLASS_AGREEMENT_TOLERANCE = 0.2  # ... or this much less than BatchNorm alone agrees on, whichever is lower
MIN_ENTROPY_RATIO = 0.3  # of the lower of the source's and of BatchNorm's mean entropy
MAX_SINGLE_CLASS_SHARE = 0.9  # share of the points for which a branch may predict one and the same class
MIN_CLASS_SHARE = 0.005  # classes of a lower share of the points may come and go
MIN_SHARE_RATIO, MAX_SHARE_RATIO = 0.4, 2.5  # to which a class may shrink and grow, of its share of the points
MIN_BRANCH_KAPPA = 0.1  # agreement of 2D and 3D beyond chance; the agreement of branches that have less proves nothing


@dataclass(frozen=True, eq=False)
class Comparison:
    """A candidate's metrics and those of the baselines.

    is_source: whether the candidate is the source model itself.
    """

    candidate: CandidateMetrics
    current: CandidateMetrics
    source: CandidateMetrics
    batchnorm: CandidateMetrics
    is_source: bool = False

    def sure_gain(self, confidence: float) -> float:
        """How much better than the weights in use the candidate scores in all but 1 - ``confidence`` of the draws of
        held-out frames: the lower confidence bound of the paired difference (Efron: Bootstrap Methods, Annals of
        Statistics, 1979)."""
        return float(np.quantile(self.candidate.draws - self.current.draws, 1 - confidence))


Criterion = Callable[[Comparison, GateConfig], list[str]]


def source_agreement(compared: Comparison, config: GateConfig) -> list[str]:
    """The candidate agrees with the source model, the anchor, where that is confident: on most points, and on no class
    much less than re-estimated BatchNorm statistics alone do.

    Re-estimated statistics move some points away from the source, and for the better: so much is allowed to every
    candidate, down to a floor, below which the two have nothing in common (as when cameras see nothing).
    """
    candidate, batchnorm = compared.candidate, compared.batchnorm
    tolerated = batchnorm.source_agreement - SOURCE_AGREEMENT_TOLERANCE
    least = max(min(MIN_SOURCE_AGREEMENT, tolerated), SOURCE_AGREEMENT_FLOOR)
    refusals = []
    if candidate.source_agreement < least:
        found = candidate.source_agreement
        refusals.append(f"source agreement: {found:.3f} where the source is confident, at least {least:.3f} required")
    for name, usual in batchnorm.class_source_agreement.items():
        found = candidate.class_source_agreement[name]
        least = min(MIN_CLASS_AGREEMENT, usual - CLASS_AGREEMENT_TOLERANCE)
        if found < least:
            refusals.append(f"source agreement: {name}: {found:.3f}, at least {least:.3f} required")
    return refusals


def collapse(compared: Comparison, config: GateConfig) -> list[str]:
    """The candidate has not collapsed: its predictions are not certain everywhere, no branch predicts one class nearly
    everywhere, and no class has vanished or spread far beyond its shares in the predictions of the source and of
    re-estimated BatchNorm statistics."""
    candidate, source, batchnorm = compared.candidate, compared.source, compared.batchnorm
    refusals = []
    least = MIN_ENTROPY_RATIO * min(source.entropy, batchnorm.entropy)
    if candidate.entropy < least:
        refusals.append(f"collapse: mean entropy {candidate.entropy:.4f}, at least {least:.4f} required")
    for branch in NETWORK_BRANCHES:
        found, most = candidate.single_class_share[branch], MAX_SINGLE_CLASS_SHARE
        if found > most:
            refusals.append(f"collapse: {branch}: one class on {found:.3f} of the points, at most {most:g} allowed")
    for name, found in candidate.class_share.items():
        low, high = sorted((source.class_share[name], batchnorm.class_share[name]))
        least, most = MIN_SHARE_RATIO * low, MAX_SHARE_RATIO * high + MIN_CLASS_SHARE
        if low >= MIN_CLASS_SHARE and found < least:
            refusals.append(f"collapse: {name} on {found:.4f} of the points, at least {least:.4f} required")
        if found > most:
            refusals.append(f"collapse: {name} on {found:.4f} of the points, at most {most:.4f} allowed")
    return refusals


def branch_agreement(compared: Comparison, config: GateConfig) -> list[str]:
    """The candidate's 2D and 3D branches agree by more than chance, wherever there are cameras.

    Without such agreement, as when cameras see noise, the fused prediction cannot be evaluated.
    """
    kappa, least = compared.candidate.branch_kappa, MIN_BRANCH_KAPPA
    if kappa is not None and kappa < least:
        return [f"branch agreement: 2D and 3D agree by chance: kappa {kappa:.3f}, at least {least:g} required"]
    return []


def consistency(compared: Comparison, config: GateConfig) -> list[str]:
    """The candidate's predictions agree with each other no less than those of the weights in use (2D with 3D, plain
    with augmented), and more than all baselines with the pseudo-labels.

    More than the weights in use not by the luck of a few frames, but with ``gate.confidence``. The source itself needs
    no gain over them: it returns as soon as they agree no better than it does.
    """
    candidate, current = compared.candidate, compared.current
    refusals = []
    gain = 0.0 if compared.is_source else config.min_pseudo_label_gain
    for what, found, usual, tolerance in (
        ("2D/3D agreement", candidate.branch_agreement, current.branch_agreement, config.consistency_tolerance),
        (
            "agreement under augmentation",
            candidate.augmentation_agreement,
            current.augmentation_agreement,
            config.consistency_tolerance,
        ),
        (
            "agreement with pseudo-labels of all points",
            candidate.pseudo_label_agreement,
            current.pseudo_label_agreement,
            config.pseudo_label_tolerance,
        ),
        (
            "agreement of the fused labels with pseudo-labels",
            candidate.fused_agreement,
            current.fused_agreement,
            config.fused_tolerance,
        ),
        ("agreement with pseudo-labels", candidate.score, current.score, -gain),
    ):
        if found < usual - tolerance:
            required = f"at least {usual - tolerance:.3f} required (in use {usual:.3f})"
            refusals.append(f"consistency: {what} {found:.3f}, {required}")
    sure = compared.sure_gain(config.confidence)
    if not refusals and not compared.is_source and sure < 0:
        found = candidate.score - current.score
        refusals.append(
            f"consistency: agreement with pseudo-labels better by {found:.3f}, but with other held-out frames perhaps "
            f"by {sure:.3f}: at least 0 required with confidence {config.confidence:g}"
        )
    for name, baseline in (("source", compared.source), ("batchnorm", compared.batchnorm)):
        if candidate.score < baseline.score:
            required = f"at least {baseline.score:.3f} required ({name})"
            refusals.append(f"consistency: agreement with pseudo-labels {candidate.score:.3f}, {required}")
    return refusals


def class_iou(compared: Comparison, config: GateConfig) -> list[str]:
    """No class agrees much less with its pseudo-labels than it does with the best of the baselines.

    Much less not by the luck of a few frames, but with ``gate.confidence``, of the draws that have the class at all.
    """
    refusals = []
    for name, found in compared.candidate.class_iou.items():
        baselines = (compared.current, compared.source, compared.batchnorm)
        best = max(baselines, key=lambda baseline: baseline.class_iou[name])
        drops = best.class_draws[name] - compared.candidate.class_draws[name]
        sure = float(np.nanquantile(drops, 1 - config.confidence))
        least = best.class_iou[name] - config.max_class_iou_drop
        if found < least and sure > config.max_class_iou_drop:
            refusals.append(f"class IoU: {name}: {found:.3f} with its pseudo-labels, at least {least:.3f} required")
    return refusals


CRITERIA: dict[str, Criterion] = {
    "source_agreement": source_agreement,
    "collapse": collapse,
    "branch_agreement": branch_agreement,
    "consistency": consistency,
    "class_iou": class_iou,
}
"""The criteria of every candidate by their names in ``adaptation.gate.criteria``."""


def labelled_replay(candidate: float, current: float, source: float, config: GateConfig) -> list[str]:
    """The candidate's mean IoU on labelled frames of the source domain is hardly lower than the better one of the
    weights in use and the source (of the source, too: else every promotion might lose a little more)."""
    least = max(current, source) - config.source_miou_tolerance
    if not candidate >= least:
        return [f"labelled replay: mIoU {candidate:.3f} on frames of the source, at least {least:.3f} required"]
    return []
