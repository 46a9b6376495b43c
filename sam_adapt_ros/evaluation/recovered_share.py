"""How much of what a domain shift costs adaptation recovers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sam_adapt_ros.evaluation.segmentation_metrics import Evaluation, miou_figures


def recovered(source: float, final: float, oracle: float) -> float:
    """(final - source) / (oracle - source): the share of the gain by true labels that adaptation reaches without them.

    NaN where the shift costs nothing, that is, where the oracle is no better than the source model.
    """
    return (final - source) / (oracle - source) if oracle > source else math.nan


def recovery_figures(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """``miou_figures``, and the share that adaptation ``recovered``, None where the shift costs nothing.

    evaluations: with ``miou_source_unseen``, ``miou_final`` and ``miou_oracle`` among the names.
    """
    figures = miou_figures(evaluations)
    for miou in (figures, figures["all_points"]):
        share = recovered(*(miou[f"miou_{name}"] for name in ("source_unseen", "final", "oracle")))
        miou["recovered"] = share if math.isfinite(share) else None
    return figures
