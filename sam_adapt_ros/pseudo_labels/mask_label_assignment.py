"""``enhance``: masks turn sparse pseudo-labels into dense ones (mask label assignment, then propagation)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import EnhancementConfig
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.pseudo_labels.geometry_aware_propagation import Propagator


class Refusal(str, Enum):
    """Why a mask got no label: the first constraint that it fails."""

    SIZE = "size"  # fewer labelled points than min_points
    PURITY = "purity"  # too few of the labelled points agree
    REPRESENTATIVITY = "representativity"  # too few of the points are labelled


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
    _check(points, labels, membership, areas)
    current = labels.astype(np.intp)  # what bincount counts without conversion
    propagator: Propagator | None = None
    records: list[MaskRecord | None] = [None] * len(membership)
    order = np.argsort(areas[::-1], kind="stable")[::-1]  # reversed twice: stable, and descending
    for mask in (len(areas) - 1 - order).tolist():
        members = membership[mask].nonzero()[0]
        carried = current[members]
        record = _assign(carried, config)
        missing = record.points - (record.agreeing_before if config.relabel else record.labelled_before)
        if record.label is not None and missing and config.propagation != "none":
            seeds = carried == record.label
            open_ = ~seeds if config.relabel else carried == IGNORE
            if config.propagation == "gapp":
                propagator = propagator or Propagator(points, config)
                joined = propagator.grow(members, seeds, open_, record.label)
            else:
                joined = members[open_]
            if len(joined):
                new = int(np.count_nonzero(current[joined] == IGNORE))
                current[joined] = record.label
                record = record._replace(
                    labelled_after=record.labelled_before + new, agreeing_after=record.agreeing_before + len(joined)
                )
        records[mask] = record
    return Enhancement(current.astype(np.uint8), tuple(record for record in records if record is not None))


def _assign(carried: NDArray[np.intp], config: EnhancementConfig) -> MaskRecord:
    """The mask's label from those that its points carry, or the constraint that it fails."""
    counts = np.bincount(carried, minlength=IGNORE + 1)
    total = len(carried)
    labelled = total - int(counts[IGNORE])
    winner = int(counts[:IGNORE].argmax())  # of equals the first, that is the lower id
    agreeing = int(counts[winner])
    reason = None
    if labelled < config.min_points:
        reason = Refusal.SIZE
    elif agreeing / labelled < config.min_purity:
        reason = Refusal.PURITY
    elif labelled / total < config.min_representativity:
        reason = Refusal.REPRESENTATIVITY
    label = winner if reason is None else None
    return MaskRecord(label, reason, total, labelled, labelled, agreeing, agreeing)


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
