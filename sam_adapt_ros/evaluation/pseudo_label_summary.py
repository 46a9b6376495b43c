"""The summary of a run of the pseudo-labels: coverage, precision and recall of each stage, outcomes of the masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.taxonomy import Taxonomy

SCOPES = ("seen", "all")
"""Points that some camera sees, which masks can reach; all points of the sweep."""


class PseudoLabelSummary(RunSummary):
    """A run's summary with statistics by stage and scope.

    mask_outcomes: how many masks were ``labelled``, or failed which constraint.
    kept_out: points that direct propagation labels and the configured one leaves without a label; how many of them have
    ground truth (``known``), and for how many of those the direct label is ``wrong``.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__(taxonomy)
        self.stages: dict[str, dict[str, LabelStatistics]] = {}
        self.mask_outcomes: Counter[str] = Counter()
        self.kept_out: Counter[str] = Counter()

    def add_pseudo_labels(
        self,
        predicted: NDArray[np.uint8],
        truth: NDArray[np.uint8] | None,
        seen: NDArray[np.bool_],
        stages: Mapping[str, NDArray[np.uint8]],
        mask_outcomes: Iterable[str],
    ) -> None:
        """One frame, also as ``add`` does it.

        Args:
            predicted: (N,) class ids of the ensemble.
            truth: (N,) true class ids, None without ground truth.
            seen: (N,) whether a camera sees the point.
            stages: (N,) pseudo-labels by stage, ``labels`` among them; ``direct``, those by direct propagation, is
                what ``kept_out`` is counted against.
            mask_outcomes: ``labelled``, or the constraint that it failed, of every mask.
        """
        self.add({Branch.FUSED: predicted}, truth)
        self.points_seen_by_camera += int(np.count_nonzero(seen))
        for stage, labels in stages.items():
            scopes = self.stages.setdefault(stage, {scope: LabelStatistics(len(self.taxonomy)) for scope in SCOPES})
            scopes["seen"].add(labels, truth, seen)
            scopes["all"].add(labels, truth)
        self.mask_outcomes.update(mask_outcomes)
        if "direct" in stages:
            direct = stages["direct"]
            out = (direct != IGNORE) & (stages["labels"] == IGNORE)
            self.kept_out["points"] += int(np.count_nonzero(out))
            if truth is not None:
                known = out & (truth != IGNORE)
                self.kept_out["known"] += int(np.count_nonzero(known))
                self.kept_out["wrong"] += int(np.count_nonzero(known & (direct != truth)))

    @property
    def failure(self) -> str:
        if super().failure or self.stages["labels"]["all"].labelled.any():
            return super().failure
        return f"no point of {self.frames_labelled} frames got a pseudo-label; cameras see {self.points_seen_by_camera}"

    def as_dict(self) -> dict[str, Any]:
        names = self.taxonomy.classes
        return {
            **super().as_dict(),
            "stages": {
                stage: {scope: statistics.as_dict(names) for scope, statistics in scopes.items()}
                for stage, scopes in self.stages.items()
            },
            "masks": dict(self.mask_outcomes),
            "kept_out": dict(self.kept_out),
        }
