"""What adaptation recovers of a domain shift: the models that adapted weights are measured against, and the share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sam_adapt_ros.adaptation.batchnorm import reestimate_batchnorm
from sam_adapt_ros.adaptation.promotion.candidate_evaluation import with_state
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.config import Config, SelfTrainingConfig
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, Evaluation, evaluate
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.logits import compute_logits
from sam_adapt_ros.segmentation.temperature_scaling import fit_scales, scale_classifiers

ORACLE_TRAINING = SelfTrainingConfig(steps=200, learning_rate=1e-3, ema_decay=0.9, class_weight_exponent=0.25)


def recovered(source: float, final: float, oracle: float) -> float:
    """The share of what labels would give that adaptation gives without them; NaN where the shift costs nothing."""
    return (final - source) / (oracle - source) if oracle > source else float("nan")


def judge(frames: Sequence[Frame], segmenters: Mapping[str, Segmenter]) -> dict[str, Evaluation]:
    """Every segmenter on the same frames, by name."""
    return {name: evaluate(frames, segmenter) for name, segmenter in segmenters.items()}


def figures(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Mean IoU of the fused prediction by name: over the points that a camera sees and, under ``all_points``, over all;
    that of the branches alone, under ``by_branch``.

    With ``miou_source_unseen``, ``miou_final`` and ``miou_oracle`` among the names, also what was ``recovered``; None
    where the shift costs nothing.
    """
    found = {name: evaluation.miou(FUSED_SEEN) for name, evaluation in evaluations.items()}
    all_points = {name: evaluation.miou() for name, evaluation in evaluations.items()}
    return {
        **found,
        "recovered": _share(found),
        "all_points": {**all_points, "recovered": _share(all_points)},
        "by_branch": {
            name: {branch: judged.miou(branch) for branch in NETWORK_BRANCHES} for name, judged in evaluations.items()
        },
    }


def _share(miou: Mapping[str, float]) -> float | None:
    share = recovered(*(miou.get(f"miou_{name}", math.nan) for name in ("source_unseen", "final", "oracle")))
    return share if math.isfinite(share) else None


def to_samples(frames: Iterable[Frame], source: Segmenter) -> list[Sample]:
    """Frames as the model takes them: smaller, so that many fit into memory."""
    return [Sample.from_frame(frame, source.network.architecture) for frame in frames]


def normalization_only(source: Segmenter, samples: Sequence[Sample], config: Config) -> Segmenter:
    """The source with its normalization statistics re-estimated on unlabelled frames: what everything has to beat."""
    statistics = reestimate_batchnorm(source.network, samples, config.adaptation.batchnorm)
    network = with_state(source.network, statistics)
    return Segmenter(network, source.taxonomy, config.segmenter, "normalization only")


def train_oracle(
    source: Segmenter, samples: Sequence[Sample], config: Config, training: SelfTrainingConfig = ORACLE_TRAINING
) -> Segmenter:
    """The source network trained on with the true labels of the domain: what labels would give.

    Every sixth sample is kept out of the training: as the source was, and as candidates are, the oracle's branches are
    weighed against each other, by the truth, and on what was trained on they would seem surer than they are.
    """
    start = normalization_only(source, samples[::3], config).network
    run = SelfTraining(start, [sample for place, sample in enumerate(samples) if place % 6], training)
    while not run.finished:
        run.step()
    network = run.average
    some = [sample for sample in samples[::6] if sample.labels is not None]
    scales = fit_scales(compute_logits(network, some), [sample.labels for sample in some if sample.labels is not None])
    network = with_state(network, scale_classifiers(network.state_dict(), scales))
    return Segmenter(network, source.taxonomy, config.segmenter, "oracle")
