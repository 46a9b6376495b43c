"""The promotion gate: of several candidates the one that may replace the weights in use, or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sam_adapt_ros.adaptation.promotion.candidate_evaluation import HeldOutPredictions
from sam_adapt_ros.adaptation.promotion.criteria import CRITERIA, Comparison, labelled_replay
from sam_adapt_ros.adaptation.promotion.metrics import Baselines, CandidateMetrics, MetricsCalculator
from sam_adapt_ros.config import GateConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict on one set of weights.

    refusals: of every criterion that it fails, in words and numbers; () when none. score: what candidates are ranked
    by, the higher the better. numbers: all measurements, by name.
    """

    name: str
    refusals: tuple[str, ...] = ()
    score: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, metrics: CandidateMetrics, refusals: tuple[str, ...] = ()) -> Verdict:
        """On weights that could be measured."""
        return cls(name, refusals, metrics.score, metrics.as_dict())

    @property
    def passed(self) -> bool:
        return not self.refusals

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "refusals": list(self.refusals),
            "score": self.score,
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True)
class Decision:
    """promoted: name of the candidate to be used, "" when what is in use stays. reason: in words.

    verdicts: on every candidate. baselines: on the weights in use (``current``), the ``source`` and ``batchnorm``.
    facts: of the round, kept beside the numbers.
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
    ) -> Decision:
        """The decision on the candidates.

        Args:
            candidates: predictions by name; None for weights that are not finite. Of equals, the first is preferred.
                ``source`` is the name of the source model, where that may come back.
            source_miou: mean IoU on labelled frames of the source domain, of the candidate of that name, and of
                ``current`` and ``source``. It is costly, so it is asked for only of candidates that pass all other
                criteria, the best first.
        """
        calculator = MetricsCalculator(baselines, self.classes, self.config)
        current, source, batchnorm = map(calculator.measure, (baselines.current, baselines.source, baselines.batchnorm))

        def verdict(name: str, predictions: HeldOutPredictions | None) -> Verdict:
            if predictions is None or not predictions.finite:
                return Verdict(name, ("weights or predictions are not finite",))
            if not calculator.enough:
                return Verdict(name, ("too few held-out points with a pseudo-label",))
            metrics = calculator.measure(predictions)
            compared = Comparison(metrics, current, source, batchnorm, is_source=name == "source")
            refusals = [text for name in self.config.criteria for text in CRITERIA[name](compared, self.config)]
            return Verdict.of(name, metrics, tuple(refusals))

        verdicts = {name: verdict(name, predictions) for name, predictions in candidates.items()}
        promoted = ""
        for name in sorted(verdicts, key=lambda name: -verdicts[name].score):
            if not promoted and verdicts[name].passed:
                if source_miou is not None:
                    verdicts[name] = self._replayed(verdicts[name], source_miou)
                promoted = name if verdicts[name].passed else ""
        if promoted:
            score = verdicts[promoted].score
            reason = f"{promoted}: agreement with pseudo-labels {score:.3f}, in use {current.score:.3f}"
        else:
            reason = "; ".join(f"{name}: {each.refusals[0]}" for name, each in verdicts.items()) or "no candidates"
        logger.info("promotion gate: %s (%s)", f"{promoted} passes" if promoted else "no candidate passes", reason)
        for each in verdicts.values():
            for refusal in each.refusals:
                logger.debug("promotion gate: %s: %s", each.name, refusal)
        measured = (("current", current), ("source", source), ("batchnorm", batchnorm))
        return Decision(
            promoted, reason, tuple(verdicts.values()), tuple(Verdict.of(name, metrics) for name, metrics in measured)
        )

    def _replayed(self, verdict: Verdict, source_miou: Callable[[str], float]) -> Verdict:
        own, current, source = (source_miou(name) for name in (verdict.name, "current", "source"))
        numbers = {"source_miou": own, "source_miou/current": current, "source_miou/source": source}
        refusals = labelled_replay(own, current, source, self.config)
        return replace(verdict, refusals=tuple(refusals), numbers={**verdict.numbers, **numbers})
