"""``enhance``: masks turn sparse pseudo-labels into dense ones (mask label assignment, then propagation)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import EnhancementConfig


class Refusal(str, Enum):
    """Why a mask got no label: the first constraint that it fails."""

    SIZE = "size"  # fewer labelled points than min_points
    PURITY = "purity"  # too few of the labelled points agree
    REPRESENTATIVITY = "representativity"  # too few of the points are labelled


UNCONSTRAINED: dict[Refusal, dict[str, float]] = {
    Refusal.SIZE: {"min_points": 1},
    Refusal.PURITY: {"min_purity": 0.0},
    Refusal.REPRESENTATIVITY: {"min_representativity": 0.0},
}
"""The settings of ``EnhancementConfig`` by which a constraint is left out, for ablations."""
_REFUSALS = dict(zip((-1, -2, -3), Refusal, strict=True))


class MaskRecord(NamedTuple):
    """What became of one mask. Counts are of points on the mask, as it was visited and as it was left."""

    label: int | None  # the class assigned to it
    reason: Refusal | None  # why there is none
    points: int
    labelled_before: int
    labelled_after: int
    agreeing_before: int  # carry the most frequent class
    agreeing_after: int


@dataclass(frozen=True, eq=False)
class Enhancement:
    """labels: (N,) uint8 class ids, 255 = ignore. masks: one record a mask, in the order of ``membership``'s rows."""

    labels: NDArray[np.uint8]
    masks: tuple[MaskRecord, ...]


def enhance(
    points: NDArray[np.float32],
    labels: NDArray[np.uint8],
    membership: NDArray[np.bool_],
    areas: NDArray[np.generic],
    config: EnhancementConfig,
) -> Enhancement:
    """Mask label assignment (MLA) and propagation (GAPP unless configured otherwise) over one camera's masks.

    points: (N, 3) float32 metres, LiDAR frame, finite.
    labels: (N,) uint8 class ids, 255 = ignore.
    membership: (M, N) bool, which points fall on which mask.
    areas: (M,) pixels, integer or floating.

    Masks are visited by descending area (ties: the lower index first), each seeing the labels as those before left
    them. ``direct`` propagation gives a mask's class to all of its points (with ``relabel: false`` to those without a
    class), ``none`` to nobody: only the records tell.
    Inputs are never modified. Raises ValueError that names the argument of a wrong shape, dtype or value.
    """
    # Imported here: importing Numba takes a quarter of a second, and compiling (once, see there) some seconds.
    from sam_adapt_ros.pseudo_labels.geometry_aware_progressive_propagation import (
        assign_and_propagate,
        find_cliques,
        pack,
    )

    _check(points, labels, membership, areas)
    points = np.require(points, requirements=["C", "A", "W"])  # one layout, so that Numba compiles once
    if config.propagation == "gapp":
        cliques = find_cliques(points, config.radius_per_metre, config.min_radius, config.max_radius)
    else:
        cliques = find_cliques(points, 0.0, math.inf, math.inf)
    order = np.argsort(areas[::-1], kind="stable")[::-1]  # reversed twice: stable, and descending
    enhanced = labels.copy()
    records = assign_and_propagate(
        points,
        cliques,
        pack(membership),
        np.ascontiguousarray(len(areas) - 1 - order),
        enhanced,
        config.min_points,
        config.min_purity,
        config.min_representativity,
        config.relabel,
        config.propagation != "none",
    )
    return Enhancement(enhanced, tuple(_mask_record(*record) for record in records.tolist()))


def _mask_record(label: int, *counts: int) -> MaskRecord:
    """Of a row that ``assign_and_propagate`` returns."""
    return MaskRecord(label, None, *counts) if label >= 0 else MaskRecord(None, _REFUSALS[label], *counts)


def _check(points: NDArray, labels: NDArray, membership: NDArray, areas: NDArray) -> None:
    for name, array in (("points", points), ("labels", labels), ("membership", membership), ("areas", areas)):
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name}: a NumPy array expected, got {type(array).__name__}")
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype != np.float32:
        raise ValueError(f"points: (N, 3) float32 expected, got {points.shape} {points.dtype}")
    if not np.isfinite(points).all():
        raise ValueError("points: finite coordinates expected, got NaN or infinity")
    if labels.shape != points.shape[:1] or labels.dtype != np.uint8:
        raise ValueError(f"labels: ({len(points)},) uint8 expected, got {labels.shape} {labels.dtype}")
    if membership.ndim != 2 or membership.shape[1] != len(points) or membership.dtype != np.bool_:
        raise ValueError(f"membership: (M, {len(points)}) bool expected, got {membership.shape} {membership.dtype}")
    if areas.shape != membership.shape[:1] or areas.dtype.kind not in "iuf":
        raise ValueError(f"areas: ({len(membership)},) numbers expected, got {areas.shape} {areas.dtype}")
    if np.isnan(areas).any():
        raise ValueError("areas: numbers expected, got NaN")
