"""One round of learning: frames -> statistics -> pseudo-labels -> student -> candidates -> the gate's decision."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.adaptation.batchnorm import displacement, renormalized
from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameSequence
from sam_adapt_ros.adaptation.promotion.candidate_evaluation import (
    Behaviour,
    Opinions,
    behave,
    is_finite,
    listen,
    weigh,
    with_state,
)
from sam_adapt_ros.adaptation.promotion.gate import Decision, Gate, Measures, References
from sam_adapt_ros.adaptation.round_state import Plan
from sam_adapt_ros.adaptation.round_summary import observed
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.adaptation.source_frames import SourceFrames, labelled_miou
from sam_adapt_ros.adaptation.weight_averaging import assemble, interpolate
from sam_adapt_ros.config import AdaptationConfig
from sam_adapt_ros.errors import WeightsError
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.pseudo_labels.teacher import Teacher, with_labels
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import Fusion
from sam_adapt_ros.segmentation.network import Network, State
from sam_adapt_ros.segmentation.temperature_scaling import scaled

logger = logging.getLogger(__name__)

Pause = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Outcome:
    """decision: the gate's. state: the weights of the promoted candidate; None when nothing was promoted, or when that
    is the ``source`` itself."""

    decision: Decision
    state: State | None


class Round:
    """All that a round computes; it reads and writes nothing but its own checkpoint.

    source: the source model, on the device that is to be used. frames: labelled ones of the source domain, if any.
    """

    def __init__(
        self,
        config: AdaptationConfig,
        source: Network,
        teacher: Teacher,
        fusion: Fusion,
        classes: tuple[str, ...],
        frames: SourceFrames,
    ) -> None:
        self.config = config
        self.source = source.eval().requires_grad_(False)
        self.teacher = teacher
        self.fusion = fusion
        self.classes = classes
        self.gate = Gate(config.gate, classes)
        self.frames = frames
        self.observing = config.mode == "observe"
        self.phase = ""
        self.losses: list[dict[str, float]] = []

    def run(
        self,
        plan: Plan,
        training: FrameSequence,
        held_out: FrameSequence,
        current: Mapping[str, Tensor] | None,
        at_home: bool,
        checkpoint: Path | None,
        keep: Callable[[Plan], None],
        pause: Pause,
    ) -> Outcome:
        """Deterministic for the same arguments.

        current: the weights in use, None when they are the source's. at_home: they were learned in the present scene;
        elsewhere they have no more to teach than the source, which then is the teacher, and the rest of a candidate of
        which one branch was learned: else they would be judged by their own words, and stay when the source is the
        better one again. checkpoint: file to resume the training from, and to write it to. keep: called with the plan
        once it has labels. pause: called between small pieces of work.
        """
        self.phase = "normalizing"
        samples, judged = (self._samples(frames, pause) for frames in (training, held_out))
        source_state = dict(self.source.state_dict())
        normalized = renormalized(self.source, samples, self.config.batchnorm, pause)
        device = next(self.source.parameters()).device
        in_use = source_state if current is None else {name: tensor.to(device) for name, tensor in current.items()}
        renewed = normalized
        if current is not None and at_home:
            # From the source's statistics, not from those in use: else their share would grow from round to round.
            network = with_state(self.source, in_use)
            renewed = renormalized(network, samples, self.config.batchnorm, pause, source_state)

        self.phase = "labelling"
        if not plan.labels:
            teachers = [with_state(self.source, renewed)]
            if self.teacher.config.pseudo_labels.ensemble_source:
                teachers.append(self.source)
            found = self.teacher.label(teachers, training, held_out, pause)
            labels = zip((*plan.training, *plan.held_out), (*found.training, *found.held_out), strict=True)
            plan = replace(plan, labels=dict(labels), opinions=dict(zip(plan.held_out, found.opinions, strict=True)))
            keep(plan)
        labelled = with_labels(samples, [plan.labels[key] for key in plan.training])
        before = with_labels(judged, [plan.labels[key] for key in plan.held_out])

        opinions = [plan.opinions[key][sample.rows] for key, sample in zip(plan.held_out, judged, strict=True)]
        heard = _Listener(self.source, before, opinions, self.config, self.fusion, pause)
        references = _references(heard, source_state, normalized, in_use, before)
        bases = [source_state, normalized]
        if self.config.rounds.initial_weights == "current" and current is not None:
            bases += [in_use, renewed]
        start = self._best_start(bases, heard, references)

        candidates = {"calibration": in_use} if self.config.temperature_scaling else {}
        candidates |= {"normalization": normalized, "start": start}
        if not self.observing:
            self.phase = "training"
            student = self._train(with_state(self.source, start), labelled, checkpoint, pause)
            candidates |= self._students(in_use if at_home else source_state, start, student)

        self.phase = "judging"
        behaviours: dict[str, Behaviour | None] = {} if current is None else {"source": references.source}
        for name, state in candidates.items():
            behaviours[name] = None
            if is_finite(state):
                candidates[name], behaviours[name] = self._weighed(state, heard, references)
        decision = self.gate.judge(behaviours, references, self._replay({**candidates, "current": in_use}, pause))
        facts = {
            "cause": plan.cause,
            "frames": {"training": len(training), "held_out": len(held_out)},
            "labels": self._label_facts(labelled, samples),
            "tone": training.tone,
            "normalization": displacement(source_state, normalized),
            "agreement": {baseline.name: baseline.score for baseline in decision.baselines},
            "steps": len(self.losses),
        }
        if self.observing:
            return Outcome(observed(decision, facts), None)
        chosen = None if decision.promoted in ("", "source") else candidates[decision.promoted]
        return Outcome(replace(decision, facts=facts), chosen)

    def _samples(self, frames: FrameSequence, pause: Pause) -> list[Sample]:
        samples = []
        for frame in frames:
            pause()
            samples.append(Sample.from_frame(frame, self.source.architecture))
        return samples

    def _replay(self, states: dict[str, State], pause: Pause) -> Callable[[str], float] | None:
        """Mean IoU on the held-out frames of the source by a state's name; None where there are no such frames."""
        held_out = self.frames.load(pause).held_out

        @cache
        def replay(name: str) -> float:
            network = with_state(self.source, states[name]) if name != "source" else self.source
            return labelled_miou(network, held_out, self.fusion, pause)

        return replay if held_out else None

    def _train(self, start: Network, labelled: Sequence[Sample], checkpoint: Path | None, pause: Pause) -> State:
        """The trained state; not finite where training failed, so that the gate says so."""
        mixed = self.frames.load(pause).training if self.config.mode == "with_source" else ()

        def begin() -> SelfTraining:
            return SelfTraining(start, labelled, self.config.self_training, mixed, self.config.source.batch_share)

        training = begin()
        if checkpoint is not None and checkpoint.exists():
            try:
                training.load(checkpoint)
            except WeightsError as error:
                logger.warning("training starts anew: %s", error)
                training = begin()
        self.losses = training.losses
        try:
            while not training.finished:
                try:
                    pause()
                except BaseException:
                    if checkpoint is not None:
                        training.save(checkpoint)
                    raise
                training.step()
                if checkpoint is not None and training.done % self.config.rounds.checkpoint_every == 0:
                    training.save(checkpoint)
        except FloatingPointError:
            return {name: tensor * float("nan") for name, tensor in training.student.state_dict().items()}
        return dict(training.average.state_dict())

    def _best_start(self, bases: Sequence[State], heard: _Listener, references: References) -> State:
        """Of every pair of branches the one that agrees best with the teacher on held-out frames; of equals the first.

        Where the image's statistics in the new domain are worth less than the source's, training begins without them.
        """
        measures = Measures(references, self.classes, self.config.gate)
        pairs = [assemble(image, points) for image in bases for points in bases]
        scores = [measures.of(self._weighed(pair, heard, references)[1])["score"] for pair in pairs]
        return pairs[int(np.argmax(scores))]

    def _weighed(self, state: State, heard: _Listener, references: References) -> tuple[State, Behaviour]:
        """The state and its behaviour, with its branches weighed against each other where that agrees better with the
        teacher on held-out frames."""
        plain = heard(state)
        if not self.config.temperature_scaling:
            return state, plain
        weighed, behaviour = heard.calibrated(state)
        measures = Measures(references, self.classes, self.config.gate)
        better = measures.of(behaviour)["score"] > measures.of(plain)["score"]
        return (weighed, behaviour) if better else (state, plain)

    def _students(self, rest: State, start: State, student: State) -> dict[str, State]:
        """By name: the student, blends of it with what it started from, and single branches with the rest's other."""
        candidates = {}
        for share in self.config.rounds.averaging_weights:
            blend = interpolate(start, student, share)
            name = "student" if share == 1 else f"blend {share:g}"
            candidates[name] = blend
            candidates[f"{name}, image only"] = assemble(blend, rest)
            candidates[f"{name}, points only"] = assemble(rest, blend)
        return candidates

    def _label_facts(self, labelled: Sequence[Sample], samples: Sequence[Sample]) -> dict[str, Any]:
        """Coverage of the pseudo-labels and, where the truth is known, for reports only, their precision."""
        statistics = LabelStatistics(len(self.classes))
        for sample, truth in zip(labelled, samples, strict=True):
            assert sample.labels is not None
            statistics.add(sample.labels, truth.labels, sample.camera >= 0)
        return statistics.as_dict(self.classes)


def _references(
    heard: _Listener, source: State, normalized: State, in_use: State, before: Sequence[Sample]
) -> References:
    """before: held-out samples, labelled by the teacher."""
    labels = [sample.labels for sample in before if sample.labels is not None]
    return References(
        source=heard(source),
        normalization=heard(normalized),
        current=heard(in_use),
        labels=np.concatenate([*labels, np.zeros(0, np.uint8)]),
        seen=np.concatenate([*(sample.camera >= 0 for sample in before), np.zeros(0, bool)]),
    )


class _Listener:
    """Behaviour of states on samples; a branch that several states share is listened to once."""

    def __init__(
        self,
        network: Network,
        samples: Sequence[Sample],
        opinions: Sequence[NDArray[np.uint8]],
        config: AdaptationConfig,
        fusion: Fusion,
        pause: Pause,
    ) -> None:
        """opinions: (P,) by sample, what the teacher says of its points."""
        self._network, self._samples, self._teacher, self._config = network, samples, opinions, config
        self._fusion, self._pause = fusion, pause
        self._known: list[tuple[State, Opinions]] = []

    def __call__(self, state: State) -> Behaviour:
        return behave(self._opinions(state, "image."), self._opinions(state, "points."), self._fusion)

    def calibrated(self, state: State) -> tuple[State, Behaviour]:
        """The state with its branches weighed against each other by the teacher's opinion of all points: among those
        that it is sure of alone, every branch is right."""
        image, points = self._opinions(state, "image."), self._opinions(state, "points.")
        scales = weigh(image, points, self._teacher)
        return scaled(state, scales), behave(image, points, self._fusion, scales)

    def _opinions(self, state: State, branch: str) -> Opinions:
        for known, opinions in self._known:
            if all(known[name].equal(state[name]) for name in state if name.startswith(branch)):
                return opinions
        augmentation = self._config.self_training.augmentation
        opinions = listen(with_state(self._network, state), self._samples, augmentation, self._pause)
        self._known.append((state, opinions))
        return opinions
