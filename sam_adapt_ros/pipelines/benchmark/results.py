"""What a benchmark's stages found, as plain values: the content of ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines.benchmark.plan import (
    LABELS,
    MASKS,
    ORACLE,
    SELECTED,
    SELECTION,
    SOURCE,
    STUDENT,
    TEST,
    XMUDA,
    Plan,
)
from sam_adapt_ros.pipelines.benchmark.stages import DAMAGED, Done
from sam_adapt_ros.taxonomy import Taxonomy

HEADS = {Branch.IMAGE: "2D", Branch.POINTS: "3D", Branch.FUSED: "xM"}
"""As published tables name them."""


def gather(plan: Plan, done: Mapping[str, Done]) -> dict[str, Any]:
    """Of the stages that are done; those that were skipped have no figures. The same stages give the same values."""
    classes = Taxonomy.load(plan.settings(SOURCE).taxonomy).classes
    values: dict[str, Any] = json_values(
        {
            "title": plan.config.title,
            "setting": plan.setting,
            "classes": classes,
            "models": [_model(plan, name, classes, done) for name in plan.models],
            "published": [{**each.model_dump(), "stage": each.stage or STUDENT} for each in plan.config.published],
            "published_by": plan.config.published_by,
            "pseudo_labels": _labels(plan, done),
            "masks": done[MASKS].facts if MASKS in done else None,
            "notices": [*_lasting(plan.notices), *_without_truth(done), *_empty_classes(done)],
        }
    )
    return values


def _lasting(notices: Notices) -> list[str]:
    """Without those of this run alone."""
    return [text for key, text in notices.as_dict().items() if not key.startswith(DAMAGED)]


def _model(plan: Plan, name: str, classes: Sequence[str], done: Mapping[str, Done]) -> dict[str, Any]:
    row: dict[str, Any] = {"stage": name, "name": describe_model(plan, name)}
    if name in done:
        row |= {key: done[name].facts[key] for key in ("version", "iterations")}
    if (test := f"{TEST}{name}") in done:
        facts = done[test].facts
        row |= {"frames": facts["frames"], "miou": {}, "iou": {}}
        for branch, head in HEADS.items():
            confusion = Confusion(len(classes))
            confusion.counts = np.array(facts["confusion"][branch.value], np.int64)
            if confusion.points:
                row["miou"][head] = confusion.miou_published()
                row["iou"][head] = dict(zip(classes, confusion.iou(), strict=True))
    return row


def describe_model(plan: Plan, name: str) -> str:
    """In the words of the published tables, as far as they have it."""
    base = "xMUDA + PL" if plan.setting == "uda" else "source + PL"
    names = {SOURCE: "source only", XMUDA: "xMUDA", SELECTED: base, STUDENT: f"{base}, MLA + GAPP", ORACLE: "oracle"}
    return names.get(name) or f"{base}, {describe_variant(name.removeprefix(f'{STUDENT}_'))}"


def describe_variant(name: str) -> str:
    """Of the ablation: ``direct``, ``without_size``, ..."""
    return "MLA, direct" if name == "direct" else f"MLA + GAPP, {name.replace('_', ' ')}"


def _labels(plan: Plan, done: Mapping[str, Done]) -> list[dict[str, Any]]:
    """Of each set of pseudo-labels, in the order in which they are made."""
    stages = {SELECTION: "selection", LABELS: "selection, MLA + GAPP"}
    stages |= {f"{LABELS}_{name}": f"selection, {describe_variant(name)}" for name in plan.variants}
    return [{"stage": stage, "name": name, **done[stage].facts} for stage, name in stages.items() if stage in done]


def _without_truth(done: Mapping[str, Done]) -> list[str]:
    """Tests that had nothing to compare with."""
    return [
        f"{name}: nothing is measured: none of {each.facts['frames']} frames has a labelled point that the network sees"
        for name, each in done.items()
        if name.startswith(TEST) and not any(np.any(counts) for counts in each.facts["confusion"].values())
    ]


def _empty_classes(done: Mapping[str, Done]) -> list[str]:
    """Classes that no pseudo-label has: their student forgets them."""
    found = []
    for stage in (SELECTION, LABELS):
        empty = done[stage].facts["empty"] if stage in done else {}
        for branch, names in empty.items():
            if names:
                found.append(f"{stage}: no pseudo-label of {', '.join(names)} among the {branch} predictions selected")
    return found
