"""Pseudo-labels: selection, mask label assignment (MLA), geometry-aware propagation (GAPP)."""

from sam_adapt_ros.config import EnhancementConfig
from sam_adapt_ros.pseudo_labels.generator import CameraMasks, PseudoLabeler, PseudoLabels
from sam_adapt_ros.pseudo_labels.mask_label_assignment import Enhancement, MaskRecord, Refusal, enhance
from sam_adapt_ros.pseudo_labels.selection import RunningThresholds, Selector

__all__ = [
    "CameraMasks",
    "Enhancement",
    "EnhancementConfig",
    "MaskRecord",
    "PseudoLabeler",
    "PseudoLabels",
    "Refusal",
    "RunningThresholds",
    "Selector",
    "enhance",
]
