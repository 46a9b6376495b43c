"""What a run of the pseudo-labels amounted to: how dense and how right each stage is, what became of the masks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.taxonomy import Taxonomy

if TYPE_CHECKING:
    from sam_adapt_ros.pseudo_labels import PseudoLabels

SCOPES = ("seen", "all")
"""Points that some camera sees, which masks can reach; all points of the sweep."""


class PseudoLabelSummary(RunSummary):
    """A run's summary with statistics by stage (``PseudoLabels.stages``) and scope.

    mask_fates: masks by what became of them: ``labelled``, or the constraint that they failed.
    kept_out: points that direct propagation labels and the configured one leaves without a label, with those of them
    whose truth is known, and those whose direct label would have been wrong.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__(taxonomy)
        self.stages: dict[str, dict[str, LabelStatistics]] = {}
        self.mask_fates: Counter[str] = Counter()
        self.kept_out: Counter[str] = Counter()

    def add_pseudo_labels(
        self,
        predicted: NDArray[np.uint8],
        truth: NDArray[np.uint8] | None,
        seen: NDArray[np.bool_],
        pseudo: PseudoLabels,
    ) -> None:
        """One frame, also as ``add`` does it. predicted: (N,) the ensemble's labels. seen: (N,) bool, by a camera."""
        self.add({Branch.FUSED: predicted}, truth)
        self.points_seen_by_camera += int(np.count_nonzero(seen))
        for stage, labels in pseudo.stages().items():
            scopes = self.stages.setdefault(stage, {scope: LabelStatistics(len(self.taxonomy)) for scope in SCOPES})
            scopes["seen"].add(labels, truth, seen)
            scopes["all"].add(labels, truth)
        for camera in pseudo.cameras:
            self.mask_fates.update(record.reason.value if record.reason else "labelled" for record in camera.records)
        if pseudo.direct is not None:
            out = (pseudo.direct != IGNORE) & (pseudo.labels == IGNORE)
            self.kept_out["points"] += int(np.count_nonzero(out))
            if truth is not None:
                known = out & (truth != IGNORE)
                self.kept_out["known"] += int(np.count_nonzero(known))
                self.kept_out["wrong"] += int(np.count_nonzero(known & (pseudo.direct != truth)))

    def as_dict(self) -> dict[str, Any]:
        names = self.taxonomy.classes
        return {
            **super().as_dict(),
            "stages": {
                stage: {scope: statistics.as_dict(names) for scope, statistics in scopes.items()}
                for stage, scopes in self.stages.items()
            },
            "masks": dict(self.mask_fates),
            "kept_out": dict(self.kept_out),
        }
