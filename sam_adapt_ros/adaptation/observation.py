"""What a round that does not learn has to say: what it would have learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sam_adapt_ros.adaptation.gate import Decision


def observed(decision: Decision, facts: Mapping[str, Any]) -> Decision:
    """The gate's decision on statistics alone, turned into one that promotes nothing and sums the round up in words.

    facts: of the round: ``frames``, ``labels``, ``normalization``, ``agreement``; kept, with what the gate would have
    done, ``would_promote``.
    """
    labels, moved, agreement = facts["labels"], facts["normalization"], facts["agreement"]
    parts = [f"observe: pseudo-labels on {_percent(labels['coverage'])} of the points that a camera sees"]
    if labels["precision"] is not None:
        parts.append(f"{_percent(labels['precision'])} of them right")
    named = {name: found["labelled"] for name, found in labels["classes"].items() if found["labelled"]}
    total = sum(named.values())
    ranked = sorted(named, key=named.__getitem__, reverse=True)
    parts.append(", ".join(f"{name} {_percent(named[name] / total)}" for name in ranked) or "of no class")
    if moved:
        parts.append("statistics moved by " + ", ".join(f"{name} {far:.2f} std" for name, far in moved.items()))
    if agreement and facts["frames"]["held_out"]:
        scores = ", ".join(f"{name} {score:.3f}" for name, score in agreement.items())
        parts.append(f"agreement with the teacher: {scores}")
    parts.append(f"{facts['frames']['training']} frames, {facts['frames']['held_out']} held out")
    parts.append(f"the gate would promote {decision.promoted or 'nothing'} without training")
    return replace(decision, promoted="", reason="; ".join(parts), facts={**facts, "would_promote": decision.promoted})


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
