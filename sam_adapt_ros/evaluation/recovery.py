"""How much of what a domain shift costs adaptation recovers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, Evaluation


def recovered(source: float, final: float, oracle: float) -> float:
    """(final - source) / (oracle - source): the share of the gain by true labels that adaptation reaches without them.

    NaN where the shift costs nothing, that is, where the oracle is no better than the source model.
    """
    return (final - source) / (oracle - source) if oracle > source else math.nan


def recovery_figures(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Mean IoU of the fused prediction by name, over the points that a camera sees.

    ``all_points`` has the same over all points, ``by_branch`` the mean IoU of the branches alone. With
    ``miou_source_unseen``, ``miou_final`` and ``miou_oracle`` among the names, ``recovered`` is the share that
    adaptation recovered, None where the shift costs nothing.
    """
    seen = {name: evaluation.miou(FUSED_SEEN) for name, evaluation in evaluations.items()}
    all_points = {name: evaluation.miou() for name, evaluation in evaluations.items()}
    return {
        **seen,
        "recovered": _recovered_share(seen),
        "all_points": {**all_points, "recovered": _recovered_share(all_points)},
        "by_branch": {
            name: {branch: evaluation.miou(branch) for branch in NETWORK_BRANCHES}
            for name, evaluation in evaluations.items()
        },
    }


def _recovered_share(miou: Mapping[str, float]) -> float | None:
    share = recovered(*(miou.get(f"miou_{name}", math.nan) for name in ("source_unseen", "final", "oracle")))
    return share if math.isfinite(share) else None
