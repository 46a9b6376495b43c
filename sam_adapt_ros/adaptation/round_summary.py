"""Summaries in words: what became of the frames that came, and what a round of mode ``observe`` found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the gate imports torch, which the adapter node loads only after it has lowered its priority
    from sam_adapt_ros.adaptation.promotion.gate import Decision

_PASSED_OVER = {
    "standing": "less than buffer.min_distance driven, and nothing new to be seen",
    "near_border": "between training places and held-out places",
    "redundant": "like those kept",
    "too_large": "larger than the buffer",
}
_REFUSED = {
    "no_points": "too few points",
    "points_outside": "most points beyond the cube that the network sees",
    "frozen_lidar": "the same sweep again",
    "no_images": "no image",
    "dark_image": "an image without contrast",
    "noisy_image": "an image of noise",
}
_MISSED = {
    "not_open": "came before the store was open",
    "frame_without_labels": "came without labels",
    "overload": "too many at once",
    "out_of_order": "stamped no later than the one before",
}
_BASELINES = {"current": "in use", "batchnorm": "BatchNorm statistics alone"}


def observed(decision: Decision, facts: Mapping[str, Any]) -> Decision:
    """The decision of a round of mode ``observe``: nothing is promoted, and the reason sums up what was found.

    decision: the gate's, on the candidates that need no training. facts: of the round: ``frames``, ``labels``,
    ``batchnorm_shift``, ``agreement``; ``would_promote`` and ``would_reason`` are added, which are the gate's.
    """
    facts = {**facts, "would_promote": decision.promoted, "would_reason": decision.reason}
    return replace(decision, promoted="", reason="observe: " + "; ".join(findings(facts)), facts=facts)


def findings(facts: Mapping[str, Any]) -> list[str]:
    """Lines on what the round would have learned from and what the gate would have decided. facts: of ``observed``."""
    labels, shift, frames = facts["labels"], facts["batchnorm_shift"], facts["frames"]
    covered = f"pseudo-labels on {_percent(labels['coverage'])} of the {labels['points']:,} points that a camera sees"
    right = "" if labels["precision"] is None else f", {_percent(labels['precision'])} of them right"
    named = {name: found["labelled"] for name, found in labels["classes"].items() if found["labelled"]}
    total = sum(named.values())
    ranked = sorted(named, key=named.__getitem__, reverse=True)
    classes = ", ".join(f"{name} {_percent(named[name] / total)}" for name in ranked)
    lines = [
        f"{covered} in {_count(frames['training'], 'frame')}{right}",
        f"of these labels: {classes}" if classes else "no class is labelled",
    ]
    if shift:
        by_branch = ", ".join(f"{branch} {deviations:.2f}" for branch, deviations in shift.items())
        lines.append(f"BatchNorm statistics shift by {by_branch} standard deviations")
    if not frames["held_out"]:
        return [*lines, "no frame is held out, so that the gate cannot evaluate candidates"]
    if facts["agreement"]:
        scores = ", ".join(f"{_BASELINES.get(name, name)} {score:.3f}" for name, score in facts["agreement"].items())
        lines.append(f"agreement with the pseudo-labels of {_count(frames['held_out'], 'held-out frame')}: {scores}")
    verdict = f"the gate would promote {facts['would_promote'] or 'nothing'} without training"
    return [*lines, f"{verdict} ({facts['would_reason']})"]


def account(seen: int, outcomes: Mapping[str, int], kept: Mapping[str, int], needed: Mapping[str, int]) -> list[str]:
    """Lines on what became of the frames that came, and on whether they are enough for a round.

    Args:
        seen: how many frames came.
        outcomes: the number of frames that were ``kept``, and of the others by the reason why not.
        kept: the number of frames in the buffer, ``training`` and ``held_out``.
        needed: the number that a round needs, ``training`` and, where any are needed, ``held_out``.
    """
    requirements = [f"{needed['training']} needed for training (there are {kept['training']})"]
    if needed.get("held_out"):
        requirements.append(f"{needed['held_out']} held out for evaluation (there are {kept['held_out']})")
    elif kept["held_out"]:
        requirements[0] = f"{requirements[0][:-1]}, and {kept['held_out']} held out)"
    lines = [f"{_count(outcomes.get('kept', 0), 'frame')} kept of {seen} seen, {' and '.join(requirements)}"]
    others = {reason: count for reason, count in outcomes.items() if count and reason != "kept"}
    under_way = seen - outcomes.get("kept", 0) - sum(others.values())
    for title, words in (("passed over", _PASSED_OVER), ("refused", _REFUSED)):
        found = {reason: others.pop(reason) for reason in words if reason in others}
        if found:
            lines.append(f"{title}: " + ", ".join(f"{n} {reason} ({words[reason]})" for reason, n in found.items()))
    missed = [
        f"{count} {reason} ({_MISSED[reason]})" if reason in _MISSED else f"{count} {reason}"
        for reason, count in others.items()
    ]
    if under_way > 0:
        missed.append(f"{under_way} under way")
    if missed:
        lines.append("not looked at: " + ", ".join(missed))
    return lines


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
