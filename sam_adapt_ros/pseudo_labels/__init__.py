"""Pseudo-labels: selection, mask label assignment (MLA), geometry-aware propagation (GAPP)."""

from sam_adapt_ros.config import EnhancementConfig
from sam_adapt_ros.pseudo_labels.enhancement import Enhancement, MaskRecord, Refusal, enhance
from sam_adapt_ros.pseudo_labels.pipeline import CameraMasks, PseudoLabeler, PseudoLabels
from sam_adapt_ros.pseudo_labels.selection import RunningThresholds, Selector
from sam_adapt_ros.pseudo_labels.statistics import LabelStatistics

__all__ = [
    "CameraMasks",
    "Enhancement",
    "EnhancementConfig",
    "LabelStatistics",
    "MaskRecord",
    "PseudoLabeler",
    "PseudoLabels",
    "Refusal",
    "RunningThresholds",
    "Selector",
    "enhance",
]
