"""What there is to learn from, in words: of the frames that came, and of a round that does not learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it imports torch, and the adapter lowers its priority before that
    from sam_adapt_ros.adaptation.promotion.gate import Decision

_PASSED_OVER = {
    "standing": "less than buffer.min_distance driven",
    "near_border": "between places to learn from and places to judge by",
    "redundant": "like those kept",
    "too_large": "larger than the buffer",
}
_REFUSED = {
    "no_points": "too few points",
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
_NAMES = {"current": "in use", "normalization": "normalization alone"}


def observed(decision: Decision, facts: Mapping[str, Any]) -> Decision:
    """The gate's decision on statistics alone, turned into one that promotes nothing and sums the round up in words.

    facts: of the round: ``frames``, ``labels``, ``batchnorm_shift``, ``agreement``; kept, with what the gate would have
    done and why, ``would_promote`` and ``would_reason``.
    """
    facts = {**facts, "would_promote": decision.promoted, "would_reason": decision.reason}
    return replace(decision, promoted="", reason="observe: " + "; ".join(findings(facts)), facts=facts)


def findings(facts: Mapping[str, Any]) -> list[str]:
    """What a round would have learned from and what the gate would have said, a line each; facts: of ``observed``."""
    labels, moved, frames = facts["labels"], facts["batchnorm_shift"], facts["frames"]
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
    if moved:
        lines.append("statistics moved by " + ", ".join(f"{name} {far:.2f} std" for name, far in moved.items()))
    if not frames["held_out"]:
        return [*lines, "no frame is held out, so that the gate has nothing to judge by"]
    if facts["agreement"]:
        scores = ", ".join(f"{_NAMES.get(name, name)} {score:.3f}" for name, score in facts["agreement"].items())
        lines.append(f"agreement with the teacher on {_count(frames['held_out'], 'held-out frame')}: {scores}")
    verdict = f"the gate would promote {facts['would_promote'] or 'nothing'} without training"
    return [*lines, f"{verdict} ({facts['would_reason']})"]


def account(seen: int, fates: Mapping[str, int], there: Mapping[str, int], needed: Mapping[str, int]) -> list[str]:
    """What became of the frames that came, a line each; the first says whether they are enough for a round.

    seen: how many came. fates: frames by ``kept`` or by the reason why not. there, needed: frames in the buffer and
    those that a round wants, ``training`` and ``held_out``; needed may lack the latter.
    """
    wanted = [f"{needed['training']} needed to learn from (there are {there['training']})"]
    if needed.get("held_out"):
        wanted.append(f"{needed['held_out']} to judge by (there are {there['held_out']})")
    elif there["held_out"]:
        wanted[0] = f"{wanted[0][:-1]}, and {there['held_out']} held out)"
    lines = [f"{_count(fates.get('kept', 0), 'frame')} kept of {seen} seen, {' and '.join(wanted)}"]
    others = {reason: count for reason, count in fates.items() if count and reason != "kept"}
    under_way = seen - fates.get("kept", 0) - sum(others.values())
    for title, words in (("passed over", _PASSED_OVER), ("refused", _REFUSED)):
        found = {reason: others.pop(reason) for reason in words if reason in others}
        if found:
            lines.append(f"{title}: " + ", ".join(f"{n} {reason} ({words[reason]})" for reason, n in found.items()))
    missed = [f"{count} {reason}{_gloss(reason)}" for reason, count in others.items()]
    if under_way > 0:
        missed.append(f"{under_way} under way")
    if missed:
        lines.append("not looked at: " + ", ".join(missed))
    return lines


def _gloss(reason: str) -> str:
    return f" ({_MISSED[reason]})" if reason in _MISSED else ""


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
