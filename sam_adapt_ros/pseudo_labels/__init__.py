"""Pseudo-labels: selection, mask label assignment (MLA), geometry-aware propagation (GAPP)."""

from sam_adapt_ros.config import EnhancementConfig
from sam_adapt_ros.pseudo_labels.enhancement import Enhancement, MaskRecord, Refusal, enhance

__all__ = ["Enhancement", "EnhancementConfig", "MaskRecord", "Refusal", "enhance"]
