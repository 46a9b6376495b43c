"""The promotion gate: of several candidates the one that may replace the weights in use, or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sam_adapt_ros.adaptation.promotion.candidate_evaluation import HeldOutPredictions
from sam_adapt_ros.adaptation.promotion.candidate_metrics import Baselines, CandidateMetrics, MetricsCalculator
from sam_adapt_ros.adaptation.promotion.criteria import CRITERIA, Comparison, labelled_replay
from sam_adapt_ros.config import GateConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict on one set of weights.

    refusals: of every criterion that it fails, in words and numbers; () when none. score: agreement with the
    pseudo-labels, see ``CandidateMetrics``. sure_gain: what of the gain in score over the weights in use is sure; of
    the candidates that pass, the one with most of it is promoted (see ``Gate.judge``). numbers: all measurements, by
    name.
    """

    name: str
    refusals: tuple[str, ...] = ()
    score: float = 0.0
    sure_gain: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.refusals


@dataclass(frozen=True)
class Decision:
    """promoted: name of the candidate to be used, "" when what is in use stays. reason: in words.

    verdicts: on every candidate. baselines: on the weights in use (``current``), the ``source`` and ``batchnorm``.
    facts: of the round, recorded with the numbers.
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
            "candidates": [asdict(verdict) for verdict in self.verdicts],
            "baselines": [asdict(verdict) for verdict in self.baselines],
            **self.facts,
        }


class Gate:
    """Applies the promotion criteria to candidates, and chooses the best one that passes.

    All that is known of a candidate is what it predicts on held-out frames, not how its weights came about.
    """

    def __init__(self, config: GateConfig, classes: tuple[str, ...]) -> None:
        self.config = config
        self.classes = classes

    def judge(
        self,
        candidates: Mapping[str, HeldOutPredictions | None],
        baselines: Baselines,
        source_miou: Callable[[str], float] | None = None,
        parts: Mapping[str, str] | None = None,
    ) -> Decision:
        """The decision on the candidates.

        What is measured is where a camera sees. There one trained branch may agree as well as both; elsewhere the point
        branch labels alone. So where a part of a candidate is the best one, the whole is promoted instead if it
        passes, too.

        Args:
            candidates: predictions by name; None for weights that are not finite. Of equals, the first is preferred.
                ``source`` is the name of the source model, where that may come back.
            source_miou: mean IoU on labelled frames of the source domain, of the candidate of that name, and of
                ``current`` and ``source``. It is costly, so it is computed only for candidates that pass all other
                criteria, the best first.
            parts: of candidates that are a part of another one (a single branch of it), the other one's name.
        """
        calculator = MetricsCalculator(baselines, self.classes, self.config)
        current, source, batchnorm = map(calculator.measure, (baselines.current, baselines.source, baselines.batchnorm))
        verdicts: dict[str, Verdict] = {}
        for name, predictions in candidates.items():
            if predictions is None or not predictions.finite:
                verdicts[name] = Verdict(name, ("weights or predictions are not finite",))
            elif not calculator.enough:
                verdicts[name] = Verdict(name, ("too few held-out points with a pseudo-label",))
            else:
                metrics = calculator.measure(predictions)
                compared = Comparison(metrics, current, source, batchnorm, is_source=name == "source")
                sure = compared.sure_gain(self.config.confidence)
                verdicts[name] = Verdict(name, self._refusals(compared), metrics.score, sure, metrics.as_dict())
        promoted = ""
        for verdict in _ranked(verdicts, parts or {}):
            if not promoted and verdict.passed:
                replayed = verdict if source_miou is None else self._replayed(verdict, source_miou)
                verdicts[verdict.name] = replayed
                promoted = verdict.name if replayed.passed else ""
        measured = {"current": current, "source": source, "batchnorm": batchnorm}
        of_baselines = (Verdict(name, (), each.score, 0.0, each.as_dict()) for name, each in measured.items())
        decision = Decision(promoted, _reason(promoted, verdicts, current), (*verdicts.values(),), (*of_baselines,))
        _log(decision)
        return decision

    def _refusals(self, compared: Comparison) -> tuple[str, ...]:
        return tuple(text for name in self.config.criteria for text in CRITERIA[name](compared, self.config))

    def _replayed(self, verdict: Verdict, source_miou: Callable[[str], float]) -> Verdict:
        own, current, source = (source_miou(name) for name in (verdict.name, "current", "source"))
        numbers = {"source_miou": own, "source_miou/current": current, "source_miou/source": source}
        refusals = labelled_replay(own, current, source, self.config)
        return replace(verdict, refusals=tuple(refusals), numbers={**verdict.numbers, **numbers})


def _ranked(verdicts: Mapping[str, Verdict], parts: Mapping[str, str]) -> list[Verdict]:
    """The best first, and before each part the whole that it is of, if that passes."""
    ranked: dict[str, Verdict] = {}
    for verdict in sorted(verdicts.values(), key=lambda verdict: -verdict.sure_gain):
        whole = verdicts.get(parts.get(verdict.name, ""))
        if whole is not None and whole.passed:
            ranked.setdefault(whole.name, whole)
        ranked.setdefault(verdict.name, verdict)
    return list(ranked.values())


def _reason(promoted: str, verdicts: Mapping[str, Verdict], current: CandidateMetrics) -> str:
    if promoted:
        score = verdicts[promoted].score
        return f"{promoted}: agreement with pseudo-labels {score:.3f}, in use {current.score:.3f}"
    return "; ".join(f"{name}: {each.refusals[0]}" for name, each in verdicts.items()) or "no candidates"


def _log(decision: Decision) -> None:
    # "passes", not "is promoted": in mode observe nothing is.
    outcome = f"{decision.promoted} passes" if decision.promoted else "no candidate passes"
    logger.info("promotion gate: %s (%s)", outcome, decision.reason)
    for verdict in decision.verdicts:
        for refusal in verdict.refusals:
            logger.debug("promotion gate: %s: %s", verdict.name, refusal)
