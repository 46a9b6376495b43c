"""Masks of an image, and which of the LiDAR points that its camera sees fall on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.geometry.projection import Projection


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """A sweep, and the V of its points that one camera sees. The columns of masks follow the order of ``index``.

    points: (N, 3) float32 metres, LiDAR frame: the whole sweep, which ground segmentation and clustering need.
    index: (V,) int64 rows of ``points`` that the camera sees.
    uv: (V, 2) float32 pixels (u right, v down; pixel centres at integers), inside the image.
    depth: (V,) float32 metres along the optical axis.
    """

    points: NDArray[np.float32]
    index: NDArray[np.int64]
    uv: NDArray[np.float32]
    depth: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def of(
        cls, points: NDArray[np.float32], projection: Projection, visible: NDArray[np.bool_] | None = None
    ) -> SeenPoints:
        """The points with a valid projection into the image, except those that ``visible`` (N,) bool excludes."""
        valid = projection.valid if visible is None else projection.valid & visible
        index = np.flatnonzero(valid)
        return cls(points, index, projection.uv[index], projection.depth[index])

    def pixels(self, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(V,) rows and (V,) columns of the pixels that the points lie in.

        Pixel p spans [p - 0.5, p + 0.5). Points that float32 rounding puts beyond the last pixel are clipped to it.
        """
        columns = np.floor(self.uv[:, 0] + np.float32(0.5)).astype(np.int64).clip(0, width - 1)
        rows = np.floor(self.uv[:, 1] + np.float32(0.5)).astype(np.int64).clip(0, height - 1)
        return rows, columns


@dataclass(frozen=True, eq=False)
class MaskSet:
    """M masks over the V points that a camera sees; the columns follow ``SeenPoints.index``.

    membership: (M, V) bool, True where the point's pixel is on the mask (clusters: where the point is in the cluster).
    areas: (M,) float64 pixels; each generator documents how it measures them. A mask that contains another is at least
        as large.
    sources: (M,) name of the generator that made each mask.
    scores: (M,) float32 quality (SAM: predicted IoU); NaN where the generator has none.
    """

    membership: NDArray[np.bool_]
    areas: NDArray[np.float64]
    sources: tuple[str, ...] = ()
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        count = len(self.areas)
        if self.membership.ndim != 2 or self.membership.dtype != bool or len(self.membership) != count:
            shape, dtype = self.membership.shape, self.membership.dtype
            raise ValueError(f"membership: ({count}, V) bool expected for {count} areas, got {shape} {dtype}")
        if not self.sources:
            object.__setattr__(self, "sources", ("",) * count)
        if len(self.scores) == 0:
            object.__setattr__(self, "scores", np.full(count, np.nan, np.float32))
        if len(self.sources) != count or self.scores.shape != (count,):
            raise ValueError(
                f"sources, scores: {count} expected, one per mask, got {len(self.sources)} and {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.areas)

    @classmethod
    def empty(cls, points: int) -> MaskSet:
        """No masks over ``points`` points."""
        return cls(np.zeros((0, points), bool), np.zeros(0))

    @classmethod
    def concatenate(cls, sets: Sequence[MaskSet]) -> MaskSet:
        """The masks of all ``sets``, in order. Raises ValueError for no sets or sets over different points."""
        if len({masks.membership.shape[1] for masks in sets}) != 1:
            raise ValueError("sets: at least one expected, all over the same points")
        return cls(
            np.concatenate([masks.membership for masks in sets]),
            np.concatenate([masks.areas for masks in sets]),
            tuple(source for masks in sets for source in masks.sources),
            np.concatenate([masks.scores for masks in sets]),
        )

    def select(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> MaskSet:
        """The masks at ``keep``, a boolean or index array."""
        rows = np.arange(len(self))[keep]
        sources = tuple(self.sources[row] for row in rows)
        return MaskSet(self.membership[rows], self.areas[rows], sources, self.scores[rows])

    def with_at_least(self, min_points: int) -> MaskSet:
        """The masks with that many points on them or more."""
        return self.select(self.membership.sum(axis=1) >= min_points)


def from_labels(
    labels: NDArray[np.integer], areas: NDArray[np.float64], source: str, min_points: int, first: int = 0
) -> MaskSet:
    """Disjoint masks from a partition of the points: one mask per label from ``first`` upwards.

    Args:
        labels: (V,) integers; points with a label below ``first`` are on no mask.
        areas: (L,) pixels by label.
        source: the generator's name.
        min_points: labels with fewer points give no mask.
    """
    counts = np.bincount(labels[labels >= first], minlength=len(areas))
    kept = np.flatnonzero(counts >= max(min_points, 1))
    row_of = np.full(len(areas) + 1, -1, np.int64)
    row_of[kept] = np.arange(len(kept))
    row = np.where(labels >= first, row_of[labels], -1)
    on = np.flatnonzero(row >= 0)
    membership = np.zeros((len(kept), len(labels)), bool)
    membership[row[on], on] = True
    return MaskSet(membership, areas[kept].astype(np.float64), (source,) * len(kept))
