"""Mask label assignment (MLA) and geometry-aware progressive propagation (GAPP), as they are defined; slow.

Mingyu Yang, Jitong Lu, Hun-Seok Kim: SAM-guided Pseudo Label Enhancement for Multi-modal 3D Semantic Segmentation,
ICRA 2025, arXiv 2502.00960. The order of the visits, the thresholds and the radius rule are this package's, see
``EnhancementConfig``.

This is the specification of ``enhance``, which computes the same to the last bit, and what the tests and the benchmark
compare it with. Nothing else calls it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import EnhancementConfig
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.pseudo_labels.mask_label_assignment import Enhancement, MaskRecord, Refusal

Indices = NDArray[np.intp]


def enhance_by_definition(
    points: NDArray[np.float32],
    labels: NDArray[np.uint8],
    membership: NDArray[np.bool_],
    areas: NDArray[np.generic],
    config: EnhancementConfig,
) -> Enhancement:
    """Arguments and result of ``enhance``; nothing is checked."""
    x = points.astype(np.float64)
    y = labels.copy()
    records: dict[int, MaskRecord] = {}
    for mask in sorted(range(len(areas)), key=lambda mask: (-areas[mask].item(), mask)):
        P = np.flatnonzero(membership[mask])
        before = y[P]
        winner, reason = assign(before, config)
        if reason is None and config.propagation != "none":
            candidates = P if config.relabel else P[(before == winner) | (before == IGNORE)]
            seeds = P[before == winner]
            y[propagate(x, candidates, seeds, config) if config.propagation == "gapp" else candidates] = winner
        records[mask] = MaskRecord(
            label=winner if reason is None else None,
            reason=reason,
            points=len(P),
            labelled_before=int((before != IGNORE).sum()),
            labelled_after=int((y[P] != IGNORE).sum()),
            agreeing_before=int((before == winner).sum()),
            agreeing_after=int((y[P] == winner).sum()),
        )
    return Enhancement(y, tuple(records[mask] for mask in range(len(areas))))


def assign(y: NDArray[np.uint8], config: EnhancementConfig) -> tuple[int, Refusal | None]:
    """MLA: the majority of the labels y of a mask's points (of equals the lower class), and the constraint it fails."""
    labelled = y[y != IGNORE]
    votes = np.bincount(labelled, minlength=IGNORE)
    winner = int(votes.argmax())
    if len(labelled) < config.min_points:
        return winner, Refusal.SIZE
    if votes[winner] / len(labelled) < config.min_purity:
        return winner, Refusal.PURITY
    if len(labelled) / len(y) < config.min_representativity:
        return winner, Refusal.REPRESENTATIVITY
    return winner, None


def propagate(x: NDArray[np.float64], candidates: Indices, seeds: Indices, config: EnhancementConfig) -> Indices:
    """GAPP: candidates within rho of a seed become seeds, until none joins; returns the seeds of the end."""
    while True:
        outside = np.setdiff1d(candidates, seeds)
        joining = [n for n in outside if (norm(x[n] - x[seeds]) <= rho(x[n], x[seeds], config)).any()]
        if not joining:
            return seeds
        seeds = np.concatenate([seeds, joining])


def rho(x_n: NDArray[np.float64], x_s: NDArray[np.float64], config: EnhancementConfig) -> NDArray[np.float64]:
    """Metres: in proportion to the nearer point's range, since a LiDAR's points lie further apart the further away."""
    radius = config.radius_per_metre * np.minimum(norm(x_n), norm(x_s))
    return np.clip(radius, config.min_radius, config.max_radius)


def norm(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """|x| of (..., 3) vectors; each operation is rounded, in this order."""
    return np.sqrt((x[..., 0] * x[..., 0] + x[..., 1] * x[..., 1]) + x[..., 2] * x[..., 2])
