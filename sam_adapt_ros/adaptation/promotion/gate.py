"""The gate: of several candidates the one that may be used, or none; every decision with its numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.promotion.candidate_evaluation import HeldOutPredictions, agreement
from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import GateConfig
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.frame import IGNORE

logger = logging.getLogger(__name__)

CONFIDENT_PROBABILITY = 0.95
"""From which the source model is believed: candidates have to agree with it there."""
MIN_SOURCE_AGREEMENT = 0.9  # share of those points, ...
SOURCE_AGREEMENT_TOLERANCE = 0.05  # ... or this much less than BatchNorm alone agrees on, whichever is lower, ...
SOURCE_AGREEMENT_FLOOR = 0.75  # ... but never less than this
MIN_ENTROPY_RATIO = 0.3  # of the lower of the source's and of BatchNorm's mean entropy
MAX_SINGLE_CLASS_SHARE = 0.9  # share of the points for which a branch may predict one and the same class
MIN_CLASS_SHARE = 0.005  # classes of a lower share of the points may come and go
MIN_SHARE_RATIO, MAX_SHARE_RATIO = 0.4, 2.5  # to which a class may shrink and grow, of its share of the points
MIN_BRANCH_KAPPA = 0.1  # agreement of 2D and 3D beyond chance; branches that agree by chance prove nothing

Numbers = dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """What the gate thinks of one set of weights. refused: every criterion it fails, with its numbers; () when none.

    score: agreement with the pseudo-labels from before the round, the higher the better. numbers: all measurements.
    """

    name: str
    refused: tuple[str, ...]
    score: float
    numbers: Numbers

    @property
    def passed(self) -> bool:
        return not self.refused

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "refused": list(self.refused), "score": self.score, "numbers": self.numbers}


@dataclass(frozen=True)
class Decision:
    """promoted: name of the candidate to be used, "" when what is in use stays. reason: in words.

    verdicts: of every candidate. baselines: of the weights in use, the source and normalization alone.
    """

    promoted: str
    reason: str
    verdicts: tuple[Verdict, ...] = ()
    baselines: tuple[Verdict, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the store's record, the log and reports."""
        return {
            "promoted": self.promoted,
            "reason": self.reason,
            "candidates": [verdict.as_dict() for verdict in self.verdicts],
            "baselines": [verdict.as_dict() for verdict in self.baselines],
            **self.facts,
        }


@dataclass(frozen=True, eq=False)
class References:
    """What candidates are compared with, all on the same held-out points.

    source: the anchor. normalization: the source with re-estimated statistics. current: what is in use.
    labels: (P,) pseudo-labels from before the round, 255 = none. seen: (P,) bool, by a camera.
    """

    source: HeldOutPredictions
    normalization: HeldOutPredictions
    current: HeldOutPredictions
    labels: NDArray[np.uint8]
    seen: NDArray[np.bool_]


class Gate:
    """Judges by behaviour alone: where weights come from is unknown to it."""

    def __init__(self, config: GateConfig, classes: tuple[str, ...]) -> None:
        self.config = config
        self.classes = classes

    def judge(
        self,
        candidates: Mapping[str, HeldOutPredictions | None],
        references: References,
        replay: Callable[[str], float] | None = None,
    ) -> Decision:
        """candidates: by name; None for one whose weights are not finite. Ties go to the first.

        replay: mean IoU on labelled frames of the candidate of that name, and of ``current`` and ``source``; asked of
        those candidates alone that could be promoted, the best first.
        """
        measured = Measures(references, self.classes, self.config)
        baselines = tuple(
            measured.baseline(name, behaviour)
            for name, behaviour in (
                ("current", references.current),
                ("source", references.source),
                ("normalization", references.normalization),
            )
        )
        verdicts = tuple(self._verdict(name, behaviour, measured, baselines) for name, behaviour in candidates.items())
        best = None
        for verdict in sorted(verdicts, key=lambda verdict: -verdict.score):
            if verdict.passed and best is None:
                replayed = verdict if replay is None else self._replayed(verdict, replay)
                verdicts = tuple(replayed if each is verdict else each for each in verdicts)
                best = replayed if replayed.passed else None
        if best is None:
            reason = "; ".join(f"{verdict.name}: {verdict.refused[0]}" for verdict in verdicts) or "no candidates"
            return self._decided(Decision("", reason, verdicts, baselines))
        reason = f"{best.name}: consistency {best.score:.3f}, in use {baselines[0].score:.3f}"
        return self._decided(Decision(best.name, reason, verdicts, baselines))

    def _verdict(
        self, name: str, behaviour: HeldOutPredictions | None, measured: Measures, baselines: tuple[Verdict, ...]
    ) -> Verdict:
        if behaviour is None or not behaviour.finite:
            return Verdict(name, ("not finite",), 0.0, {})
        if not measured.enough:
            return Verdict(name, ("too few held-out points",), 0.0, {})
        numbers = measured.of(behaviour)
        current, source, normalization = (baseline.numbers for baseline in baselines)
        # The source comes back as soon as what is in use is worth no more than it: where the scene is the source's own.
        gain = 0.0 if name == "source" else self.config.min_pseudo_label_gain
        found = {
            "source_agreement": self._unlike_anchor(numbers, normalization),
            "collapse": self._collapsed(numbers, source, normalization),
            "branch_agreement": self._branches_apart(numbers),
            "consistency": self._inconsistent(numbers, current, source, normalization, gain),
            "class_iou": self._worse_in_a_class(numbers, current, source, normalization),
        }
        refused = tuple(reason for criterion in self.config.criteria for reason in found[criterion])
        return Verdict(name, refused, numbers["score"], numbers)

    def _replayed(self, verdict: Verdict, replay: Callable[[str], float]) -> Verdict:
        # The source's, too: else every promotion might lose a little more.
        own, current, source = (replay(name) for name in (verdict.name, "current", "source"))
        usual = max(current, source)
        numbers = {**verdict.numbers, "replay": own, "replay/current": current, "replay/source": source}
        worse = own < usual - self.config.source_miou_tolerance
        refused = (f"replay: mIoU {own:.3f} on labelled frames, was {usual:.3f}",) if worse else ()
        return replace(verdict, refused=refused, numbers=numbers)

    def _unlike_anchor(self, numbers: Numbers, normalization: Numbers) -> tuple[str, ...]:
        found = []
        # Statistics alone move some points away from the source, and for the better: so much is allowed, down to where
        # they no longer speak of the same things (cameras that see nothing).
        limit = min(MIN_SOURCE_AGREEMENT, normalization["anchor"] - SOURCE_AGREEMENT_TOLERANCE)
        limit = max(limit, SOURCE_AGREEMENT_FLOOR)
        if numbers["anchor"] < limit:
            found.append(
                f"anchor: agrees on {numbers['anchor']:.3f} of what the source is sure of, {limit:.3f} expected"
            )
        for name in self.classes:
            own, usual = numbers.get(f"anchor/{name}"), normalization.get(f"anchor/{name}")
            if own is not None and usual is not None and own < min(0.5, usual - 0.2):
                found.append(f"anchor: {name}: agrees on {own:.3f}, normalization alone on {usual:.3f}")
        return tuple(found)

    def _collapsed(self, numbers: Numbers, source: Numbers, normalization: Numbers) -> tuple[str, ...]:
        found = []
        usual = min(source["entropy"], normalization["entropy"])
        if numbers["entropy"] < MIN_ENTROPY_RATIO * usual:
            found.append(f"collapse: entropy {numbers['entropy']:.4f}, {MIN_ENTROPY_RATIO:g} of {usual:.4f} expected")
        for branch in NETWORK_BRANCHES:
            if numbers[f"most/{branch}"] > MAX_SINGLE_CLASS_SHARE:
                most = numbers[f"most/{branch}"]
                limit = MAX_SINGLE_CLASS_SHARE
                found.append(f"collapse: {branch}: one class for {most:.3f} of the points, {limit:g} at most")
        for name in self.classes:
            key = f"share/{name}"
            low, high = sorted((source[key], normalization[key]))
            if low >= MIN_CLASS_SHARE and numbers[key] < MIN_SHARE_RATIO * low:
                found.append(f"collapse: {name}: {numbers[key]:.4f} of the points, was {low:.4f}")
            if numbers[key] > MAX_SHARE_RATIO * high + MIN_CLASS_SHARE:
                found.append(f"collapse: {name}: {numbers[key]:.4f} of the points, was {high:.4f}")
        return tuple(found)

    def _branches_apart(self, numbers: Numbers) -> tuple[str, ...]:
        if numbers.get("kappa", 1.0) >= MIN_BRANCH_KAPPA:
            return ()
        return (f"consistency: 2d and 3d agree by chance (kappa {numbers['kappa']:.3f})",)

    def _inconsistent(
        self, numbers: Numbers, current: Numbers, source: Numbers, normalization: Numbers, gain: float
    ) -> tuple[str, ...]:
        config = self.config
        found = [
            f"consistency: {key} {numbers[key]:.3f}, in use {current[key]:.3f}"
            for key, tolerance in (
                ("modalities", config.consistency_tolerance),
                ("augmented", config.consistency_tolerance),
                ("labels", config.pseudo_label_tolerance),
            )
            if numbers[key] < current[key] - tolerance
        ]
        if numbers["score"] < current["score"] + gain:
            found.append(f"consistency: {numbers['score']:.3f}, in use {current['score']:.3f}")
        for name, other in (("source", source), ("normalization", normalization)):
            if numbers["score"] < other["score"]:
                found.append(f"consistency: {numbers['score']:.3f}, {name} {other['score']:.3f}")
        return tuple(found)

    def _worse_in_a_class(self, numbers: Numbers, *others: Numbers) -> tuple[str, ...]:
        found = []
        for name in self.classes:
            key = f"class/{name}"
            usual = max((other[key] for other in others if key in other), default=None)
            own = numbers.get(key, 0.0)
            if usual is not None and own < usual - self.config.max_class_iou_drop:
                found.append(f"class: {name}: consistency {own:.3f}, was {usual:.3f}")
        return tuple(found)

    def _decided(self, decision: Decision) -> Decision:
        # Not "promoted": that is for who asks to do, and who only observes does not.
        passes = f"{decision.promoted} passes" if decision.promoted else "nothing passes"
        logger.info("gate: %s (%s)", passes, decision.reason)
        for verdict in decision.verdicts:
            for reason in verdict.refused:
                logger.debug("gate: %s: %s", verdict.name, reason)
        return decision


class Measures:
    """Numbers of a behaviour against the references; each from 0 to 1."""

    def __init__(self, references: References, classes: tuple[str, ...], config: GateConfig) -> None:
        self._references = references
        self._classes = classes
        self._config = config
        source = references.source
        self._sure = source.probability >= CONFIDENT_PROBABILITY
        judged = references.labels[references.seen] if references.seen.any() else references.labels
        enough = np.bincount(judged, minlength=IGNORE + 1)[: len(classes)]
        self._judged = enough >= config.min_class_points  # classes that are met often enough to speak of
        self.enough = bool(self._judged.sum() >= 2)

    def baseline(self, name: str, behaviour: HeldOutPredictions) -> Verdict:
        numbers = self.of(behaviour)
        return Verdict(name, (), numbers["score"], numbers)

    def of(self, behaviour: HeldOutPredictions) -> Numbers:
        """``anchor`` agreement where the source is sure, ``entropy``, ``share/<class>``, the share of a
        branch's most frequent class, ``most/<branch>``; consistencies as mean IoU over
        the judged classes: ``modalities`` (2d against 3d), ``augmented``, ``labels`` and ``labels_seen`` (the
        pseudo-labels, of all points and of those that a camera sees); the last by class, ``class/<class>``, and
        altogether, ``score``; of all points where there is no camera."""
        count, names, references = len(self._classes), self._classes, self._references
        seen = references.seen
        consistencies = {
            "modalities": agreement(behaviour.image, behaviour.points, count),
            "augmented": agreement(behaviour.augmented, behaviour.labels, count),
            "labels": agreement(behaviour.labels, references.labels, count),
            "labels_seen": agreement(behaviour.labels[seen], references.labels[seen], count),
        }
        numbers: Numbers = {"entropy": float(behaviour.entropy.mean()) if len(behaviour.entropy) else 0.0}
        for name, share in zip(names, behaviour.histogram(count), strict=True):
            numbers[f"share/{name}"] = float(share)
        for branch, labels in ((Branch.IMAGE, behaviour.image), (Branch.POINTS, behaviour.points)):
            numbers[f"most/{branch}"] = _most(labels)
        numbers |= self._anchor(behaviour)
        if seen.any():
            numbers["kappa"] = _kappa(behaviour.image, behaviour.points, count)
        for key, values in consistencies.items():
            judged = np.nan_to_num(values[self._judged])
            numbers[key] = float(judged.mean()) if len(judged) else 0.0
        # Where a camera sees, masks have mended the labels; elsewhere they only repeat what the teacher was sure of.
        judged_by = "labels_seen" if seen.any() else "labels"
        numbers["score"] = numbers[judged_by]
        mean = np.nan_to_num(consistencies[judged_by])
        numbers |= {f"class/{name}": float(mean[place]) for place, name in enumerate(names) if self._judged[place]}
        return numbers

    def _anchor(self, behaviour: HeldOutPredictions) -> Numbers:
        source = self._references.source
        same = behaviour.labels == source.labels
        numbers = {"anchor": float(same[self._sure].mean()) if self._sure.any() else 0.0}
        for place, name in enumerate(self._classes):
            rows = self._sure & (source.labels == place)
            if rows.sum() >= self._config.min_class_points:
                numbers[f"anchor/{name}"] = float(same[rows].mean())
        return numbers


def _kappa(first: NDArray[np.uint8], second: NDArray[np.uint8], classes: int) -> float:
    """Agreement beyond chance of two labellings, where both have a label: 0 by chance, 1 entire (Cohen, A coefficient
    of agreement for nominal scales, 1960)."""
    both = (first != IGNORE) & (second != IGNORE)
    confusion = Confusion(classes)
    confusion.add(first[both], second[both])
    joint = confusion.matrix / max(confusion.matrix.sum(), 1)
    chance = float(joint.sum(0) @ joint.sum(1))
    return (float(np.trace(joint)) - chance) / (1 - chance) if chance < 1 else 0.0


def _most(labels: NDArray[np.uint8]) -> float:
    """The share of the most frequent class among the labels that are not 255."""
    counts = np.bincount(labels, minlength=IGNORE + 1)[:IGNORE]
    return float(counts.max() / max(counts.sum(), 1))
