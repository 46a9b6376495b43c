"""One round of learning, step by step: statistics, pseudo-labels, student, candidates, decision.

The steps are those of self-training with pseudo-labels that masks make denser (Yang, Lu, Kim: SAM-guided Pseudo Label
Enhancement for Multi-modal 3D Semantic Segmentation, ICRA 2025, arXiv 2502.00960), preceded by BatchNorm re-estimation
and followed by a decision whether any of the candidates may replace the weights in use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from sam_adapt_ros.adaptation.batchnorm import batchnorm_layers, batchnorm_shift, reestimate_batchnorm
from sam_adapt_ros.adaptation.labelled_source import LabelledSource, labelled_miou
from sam_adapt_ros.adaptation.promotion.candidate_evaluation import CandidateEvaluator, HeldOutPredictions, is_finite
from sam_adapt_ros.adaptation.promotion.candidate_metrics import Baselines, MetricsCalculator
from sam_adapt_ros.adaptation.promotion.gate import Decision, Gate
from sam_adapt_ros.adaptation.round_context import RoundContext
from sam_adapt_ros.adaptation.round_state import Phase
from sam_adapt_ros.adaptation.round_summary import observed
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.adaptation.weight_averaging import average_weights, combine_branches
from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.config import AdaptationConfig
from sam_adapt_ros.errors import ConfigError, WeightsError
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.pseudo_labels import FramePrediction, PreparedFrame, PseudoLabelGenerator
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork, State, with_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Outcome:
    """decision: the gate's. state: the weights of the promoted candidate; None when nothing was promoted, or when that
    is the ``source`` itself."""

    decision: Decision
    state: State | None


class Round:
    """All that a round computes. phase: what it is doing. losses: of the student's training, by step."""

    def __init__(
        self,
        config: AdaptationConfig,
        source: SegmentationNetwork,
        generator: PseudoLabelGenerator,
        classes: tuple[str, ...],
        labelled_source: LabelledSource,
    ) -> None:
        """source: the source model, on the device to use. labelled_source: frames of the source domain, if any.

        Raises ConfigError when the pseudo-labels are to come from a branch, or layers are to be trained, that the model
        lacks.
        """
        self.config = config
        self.source = source.eval().requires_grad_(False)
        generator.check_branches(source)
        if config.self_training.parameters == "affine" and not any(batchnorm_layers(source)):
            raise ConfigError(
                "adaptation.self_training.parameters: affine: the network "
                f"{source.architecture.network} has no BatchNorm layers to train; set it to all"
            )
        self.generator = generator
        self._both = len(source.branches) == len(NETWORK_BRANCHES)
        self.classes = classes
        self.gate = Gate(config.gate, classes)
        self.labelled_source = labelled_source
        self.observing = config.mode == "observe"
        self.phase = Phase.WATCHING
        self.losses: list[dict[str, float]] = []

    def run(self, context: RoundContext) -> Outcome:
        """Runs all steps; deterministic for the same context. Raises Cancelled between two pieces of work."""
        self._prepare_frames(context)
        self._reestimate_statistics(context)
        self._make_pseudo_labels(context)
        self._choose_start(context)
        if not self.observing:
            self._train_student(context)
        return self._decide(context)

    # The steps --------------------------------------------------------------------------------------------------------

    def _prepare_frames(self, context: RoundContext) -> None:
        """Decodes, projects and resizes every frame, once."""
        self.phase = Phase.STATISTICS
        for frames in (context.training, context.held_out):
            for frame in frames:
                context.token.check()
                visibility = self.generator.config.visibility
                context.prepared.append(PreparedFrame.of(frame, self.source.architecture, visibility))

    def _reestimate_statistics(self, context: RoundContext) -> None:
        """BatchNorm statistics of the source and of what is in use, re-estimated on the training frames."""
        samples, config, token = context.training_samples, self.config.batchnorm, context.token
        context.source = dict(self.source.state_dict())
        device = next(self.source.parameters()).device
        context.batchnorm = context.renewed = reestimate_batchnorm(self.source, samples, config, token)
        context.current = context.source
        if context.in_use is not None:
            context.current = {name: tensor.to(device) for name, tensor in context.in_use.items()}
            if context.same_scene:
                # From the source's statistics, not from those in use: else their share would grow from round to round.
                network = with_state(self.source, context.current)
                context.renewed = reestimate_batchnorm(network, samples, config, token, context.source)

    def _make_pseudo_labels(self, context: RoundContext) -> None:
        """Dense pseudo-labels of all frames; kept on disk, since they take longest."""
        self.phase = Phase.PSEUDO_LABELS
        if context.state.pseudo_labels:
            return
        generator, split = self.generator, len(context.training)
        networks = label_ensemble(self.source, context.renewed, generator)
        predictions: list[FramePrediction] = []
        for prepared in context.prepared:
            context.token.check()
            predictions.append(generator.predict(networks, prepared))
        training, held_out = generator.select(predictions[:split], predictions[split:])
        del predictions
        labels = []
        frames = chain(context.training, context.held_out)  # decoded one by one: images are large
        for frame, prepared, selection in zip(frames, context.prepared, (*training, *held_out), strict=True):
            context.token.check()
            labels.append(generator.densify(frame.views, prepared.seen, selection.labels).labels)
        context.state = context.state.with_labels(labels[:split], labels[split:], held_out)
        context.files.save(context.state)

    def _choose_start(self, context: RoundContext) -> None:
        """The baselines of every comparison and, of every pair of branches, the one to start from: that which agrees
        best with the pseudo-labels on held-out frames. Where a branch agrees better with the source's
        BatchNorm statistics than with re-estimated ones, training begins with the source's."""
        self.phase = Phase.EVALUATION
        evaluator, baselines = self._evaluation(context)
        bases = [context.source, context.batchnorm]
        if self.config.rounds.initial_weights == "current" and context.in_use is not None:
            bases += [context.current, context.renewed]
        calculator = MetricsCalculator(baselines, self.classes, self.config.gate)
        pairs = [combine_branches(image, points) for image in bases for points in bases] if self._both else bases
        scores = [calculator.measure(self._weighted(pair, evaluator, calculator)[1]).score for pair in pairs]
        context.start = pairs[int(np.argmax(scores))]
        if self.config.temperature_scaling:
            context.candidates["temperature_scaling"] = context.current
        context.candidates |= {"batchnorm": context.batchnorm, "start": context.start}

    def _train_student(self, context: RoundContext) -> None:
        """Trains a student on the pseudo-labels; candidates are the student, averages of it with its start, and single
        branches of these with the other branch of what is in use; where that is the source, of what training starts
        from."""
        self.phase = Phase.TRAINING
        student = self._trained(context)
        # The other branch of the source is that with the statistics which fit the domain better.
        in_use = context.start if context.in_use is None else context.current
        rest = in_use if context.same_scene else context.source
        for weight in self.config.rounds.averaging_weights:
            average = average_weights(context.start, student, weight)
            name = "student" if weight == 1 else f"average {weight:g}"
            context.candidates[name] = average
            if not self._both:
                continue
            single = {
                f"{name}, 2d only": combine_branches(average, rest),
                f"{name}, 3d only": combine_branches(rest, average),
            }
            context.candidates |= single
            context.parts |= dict.fromkeys(single, name)

    def _decide(self, context: RoundContext) -> Outcome:
        """Evaluates every candidate on the held-out frames and lets the gate decide."""
        self.phase = Phase.EVALUATION
        evaluator, baselines = self._evaluation(context)
        calculator = MetricsCalculator(baselines, self.classes, self.config.gate)
        evaluated: dict[str, HeldOutPredictions | None] = {}
        if context.in_use is not None:
            evaluated["source"] = baselines.source
        for name, state in context.candidates.items():
            evaluated[name] = None
            if is_finite(state):
                context.candidates[name], evaluated[name] = self._weighted(state, evaluator, calculator)
        decision = self.gate.judge(evaluated, baselines, self._source_miou(context), context.parts)
        facts = self._facts(context, decision)
        if self.observing:
            return Outcome(observed(decision, facts), None)
        promoted = None if decision.promoted in ("", "source") else context.candidates[decision.promoted]
        return Outcome(replace(decision, facts=facts), promoted)

    # Parts of the steps -----------------------------------------------------------------------------------------------

    def _evaluation(self, context: RoundContext) -> tuple[CandidateEvaluator, Baselines]:
        """The evaluator on the held-out frames, and the baselines that candidates are compared with."""
        if context.evaluation is None:
            held_out = context.labelled_held_out
            keys = context.state.held_out
            ensemble = [context.state.ensemble_labels[key][s.rows] for key, s in zip(keys, held_out, strict=True)]
            augmentation = self.config.self_training.augmentation
            fusion, token = self.generator.fusion, context.token
            evaluator = CandidateEvaluator(self.source, held_out, ensemble, augmentation, fusion, token)
            labels = [sample.labels for sample in held_out if sample.labels is not None]
            baselines = Baselines(
                source=evaluator.predictions(context.source),
                batchnorm=evaluator.predictions(context.batchnorm),
                current=evaluator.predictions(context.current),
                pseudo_labels=np.concatenate([*labels, np.zeros(0, np.uint8)]),
                seen=np.concatenate([*(sample.camera >= 0 for sample in held_out), np.zeros(0, bool)]),
                frame=np.repeat(np.arange(len(held_out)), [len(sample.points) for sample in held_out]),
            )
            context.evaluation = evaluator, baselines
        return context.evaluation

    def _weighted(
        self, state: State, evaluator: CandidateEvaluator, calculator: MetricsCalculator
    ) -> tuple[State, HeldOutPredictions]:
        """A candidate and its predictions, with its branches weighted against each other where that agrees better with
        the pseudo-labels on held-out frames."""
        plain = evaluator.predictions(state)
        if not self.config.temperature_scaling:
            return state, plain
        weighted, predictions = evaluator.temperature_scaled(state)
        better = calculator.measure(predictions).score > calculator.measure(plain).score
        return (weighted, predictions) if better else (state, plain)

    def _trained(self, context: RoundContext) -> State:
        """The student's averaged weights; not finite where training failed, so that the gate refuses them."""
        checkpoint, token = context.files.checkpoint, context.token
        mixed = self.labelled_source.load(token).training if self.config.mode == "with_source" else ()
        start, labelled = with_state(self.source, context.start), context.labelled_training

        def begin() -> SelfTraining:
            return SelfTraining(start, labelled, self.config.self_training, mixed, self.config.source.batch_share)

        training = begin()
        if checkpoint is not None and checkpoint.exists():
            try:
                training.load(checkpoint)
            except WeightsError as error:
                logger.warning("the student's training starts anew, its checkpoint cannot be used: %s", error)
                training = begin()
        self.losses = training.losses
        try:
            while not training.finished:
                try:
                    token.check()
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

    def _source_miou(self, context: RoundContext) -> Callable[[str], float] | None:
        """Mean IoU on the source domain's held-out labelled frames, by a candidate's name; None without such frames."""
        held_out = self.labelled_source.load(context.token).held_out
        states = {**context.candidates, "current": context.current, "source": context.source}

        @cache
        def source_miou(name: str) -> float:
            network = with_state(self.source, states[name])
            return labelled_miou(network, held_out, self.generator.fusion, context.token)

        return source_miou if held_out else None

    def _facts(self, context: RoundContext, decision: Decision) -> dict[str, Any]:
        """What is recorded of a round besides the gate's numbers; the pseudo-labels' precision is for reports only."""
        statistics = LabelStatistics(len(self.classes))
        for sample, truth in zip(context.labelled_training, context.training_samples, strict=True):
            assert sample.labels is not None
            statistics.add(sample.labels, truth.labels, sample.camera >= 0)
        return {
            "cause": context.state.cause,
            "frames": {"training": len(context.training), "held_out": len(context.held_out)},
            "labels": statistics.as_dict(self.classes),
            "mean_color": context.training.mean_color,
            "batchnorm_shift": batchnorm_shift(context.source, context.batchnorm),
            "agreement": {baseline.name: baseline.score for baseline in decision.baselines},
            "steps": len(self.losses),
        }


def label_ensemble(
    source: SegmentationNetwork, renewed: State, generator: PseudoLabelGenerator
) -> list[SegmentationNetwork]:
    """The networks whose mean makes the pseudo-labels: the one with re-estimated statistics and, as an anchor, the
    source as it is."""
    networks = [with_state(source, renewed)]
    return [*networks, source] if generator.config.ensemble_source else networks
