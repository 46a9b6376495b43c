"""Pseudo-labels: voting, selection of predictions, visibility, mask label assignment and propagation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sam_adapt_ros.config.section import Count, Fraction, NonNegative, Positive, Section


class SelectionConfig(Section):
    """Which predictions become pseudo-labels: those above their class's threshold, min(quantile, cap)."""

    branch: Literal["fused", "2d", "3d"] = Field("fused", description="Whose predictions are selected")
    require_agreement: bool = Field(False, description="Whether the 2D and the 3D branch have to agree on the class")
    quantile: Fraction = Field(
        0.5, description="Quantile of a predicted class's probabilities, over all frames learned from, as its threshold"
    )
    cap: Fraction = Field(0.9, description="Upper limit of every class's threshold")


class VisibilityConfig(Section):
    """Which points a camera cannot see because a nearer surface covers their pixel."""

    enabled: bool = Field(False, description="Whether hidden points are left out of the masks")
    cell: Positive = Field(
        0.003, description="Cell of the depth image, no smaller than the LiDAR's step in azimuth [rad]"
    )
    window: Count = Field(
        8, description="Cells above and below in which a nearer surface is looked for; bridges the gap between beams"
    )


class EnhancementConfig(Section):
    """Mask label assignment (MLA) and geometry-aware progressive propagation (GAPP)."""

    # min_points and min_purity are chosen on drives through the simulated town (night, new_city, other_lidar, seeds 60
    # to 62; sam-adapt ablate): of those tried whose loss of precision against selection stays within 1.5 points in
    # every domain, interval included, the ones of most coverage.
    min_points: Count = Field(5, description="Labelled points that a mask needs to be given a class")
    min_purity: Fraction = Field(
        0.9, description="Share of a mask's labelled points that its most frequent class needs"
    )
    min_representativity: Fraction = Field(0.05, description="Share of a mask's points that have to be labelled")
    radius_per_metre: NonNegative = Field(
        0.05, description="Propagation radius per metre of the nearer point's range, within min_radius and max_radius"
    )
    min_radius: Positive = Field(0.3, description="Smallest propagation radius [m]")
    max_radius: Positive = Field(2.0, description="Largest propagation radius, finite [m]")
    relabel: bool = Field(True, description="Whether points that already have another class may be given the mask's")
    propagation: Literal["gapp", "direct", "none"] = Field(
        "gapp",
        description="gapp: to points near labelled ones; direct: to all points of the mask; none: no masks are used",
    )

    @model_validator(mode="after")
    def _ordered_radii(self) -> EnhancementConfig:
        if self.min_radius > self.max_radius:
            raise ValueError(f"min_radius {self.min_radius} is larger than max_radius {self.max_radius}")
        if self.max_radius == float("inf"):
            raise ValueError("max_radius has to be finite")
        return self


class PseudoLabelConfig(Section):
    """Dense pseudo-labels of the frames that are learned from."""

    ensemble_source: bool = Field(
        True,
        description="Whether predictions of the source are averaged with those of the weights in use with re-estimated "
        "BatchNorm",
    )
    voting_cell: NonNegative = Field(
        0.2, description="Cubic cell of the map in which sweeps vote on the class; 0: no voting [m]"
    )
    selection: SelectionConfig = SelectionConfig()
    visibility: VisibilityConfig = VisibilityConfig()
    enhancement: EnhancementConfig = EnhancementConfig()
