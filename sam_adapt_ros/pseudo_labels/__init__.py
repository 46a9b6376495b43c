"""Pseudo-labels: ensemble prediction, voxel voting, selection, mask label assignment (MLA), propagation (GAPP)."""

from sam_adapt_ros.config import EnhancementConfig
from sam_adapt_ros.pseudo_labels.generator import (
    CameraMasks,
    FramePrediction,
    PseudoLabelGenerator,
    PseudoLabels,
    Selection,
)
from sam_adapt_ros.pseudo_labels.mask_label_assignment import Enhancement, MaskRecord, Refusal, enhance
from sam_adapt_ros.pseudo_labels.prepared_frame import PreparedFrame

__all__ = [
    "CameraMasks",
    "Enhancement",
    "EnhancementConfig",
    "FramePrediction",
    "MaskRecord",
    "PreparedFrame",
    "PseudoLabelGenerator",
    "PseudoLabels",
    "Refusal",
    "Selection",
    "enhance",
]
