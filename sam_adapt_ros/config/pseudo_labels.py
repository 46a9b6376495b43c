"""Pseudo-labels: selection of predictions, visibility, mask label assignment and propagation."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from sam_adapt_ros.config.section import Count, Fraction, NonNegative, Positive, Section


class SelectionConfig(Section):
    """Which of the segmenter's own predictions are trusted: those above a threshold a class, min(quantile, cap)."""

    branch: Literal["fused", "2d", "3d"] = "fused"  # whose winning class and probability
    require_agreement: bool = False  # only where the image's and the points' winning classes are the same
    quantile: Fraction = 0.5  # of the winning probabilities of a predicted class, over all frames that are learned from
    cap: Fraction = 0.9  # no threshold is higher


class VisibilityConfig(Section):
    """Which points the camera cannot see because a nearer surface covers their pixel."""

    enabled: bool = False
    cell: Positive = 0.003  # radians a cell of the depth image; no less than the LiDAR's step in azimuth
    window: Count = 8  # cells above and below that a nearer surface must be met within; bridges the gap between beams


class EnhancementConfig(Section):
    """Mask label assignment and geometry-aware propagation.

    The first two are chosen on drives through the town (night, abroad, sparse, seeds 60 to 62; ``sam-adapt ablate``):
    of those tried whose loss of precision against selection stays within 1.5 points in every domain, interval
    included, the ones of most coverage.
    """

    min_points: Count = 5  # labelled points a mask needs
    min_purity: Fraction = 0.9  # share of the labelled points that carry the most frequent class
    min_representativity: Fraction = 0.05  # share of the mask's points that are labelled
    radius_per_metre: NonNegative = 0.05  # propagation radius by the nearer point's range, ...
    min_radius: Positive = 0.3  # ... clipped to this ...
    max_radius: Positive = 2.0  # ... and that
    relabel: bool = True  # points that carry another class than their mask's may be given the mask's
    propagation: Literal["gapp", "direct", "none"] = "gapp"

    @model_validator(mode="after")
    def _ordered_radii(self) -> EnhancementConfig:
        if self.min_radius > self.max_radius:
            raise ValueError(f"min_radius {self.min_radius} is larger than max_radius {self.max_radius}")
        if self.max_radius == float("inf"):
            raise ValueError("max_radius has to be finite")
        return self


class PseudoLabelConfig(Section):
    ensemble_source: bool = True  # the source model is averaged with its re-normalized copy
    voting_cell: NonNegative = 0.2  # metres; sweeps vote on what is in a cubic cell of the map; 0: each for itself
    selection: SelectionConfig = SelectionConfig()
    visibility: VisibilityConfig = VisibilityConfig()
    enhancement: EnhancementConfig = EnhancementConfig()
