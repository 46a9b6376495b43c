"""Voxel voting: predictions of the same place in several sweeps, brought together by odometry, vote on its class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.geometry.voxels import voxelize
from sam_adapt_ros.pseudo_labels.selection import Candidates


def vote(
    points_odom: Sequence[NDArray[np.floating] | None], candidates: Sequence[Candidates], classes: int, cell: float
) -> list[Candidates]:
    """Candidates of several sweeps -> the same points' candidates after a vote in each cubic cell of the map.

    points_odom: (N, 3) metres in a fixed frame, by sweep; None where the pose is not known: such a sweep does not vote.
    A point votes for its winning class, with its probability. The class with most votes becomes that of all points in
    the cell, with its mean probability times its share of the votes: where sweeps disagree, the probability falls. A
    cell met in one sweep alone, as on everything that moves, keeps the predictions of its points.
    """
    posed = [place for place, points in enumerate(points_odom) if points is not None]
    rows = [np.flatnonzero(candidates[place].labels != IGNORE) for place in posed]
    result = list(candidates)
    if sum(map(len, rows)) == 0:
        return result
    points = np.concatenate([points_odom[place][row] for place, row in zip(posed, rows, strict=True)])  # type: ignore[index]
    labels = np.concatenate([candidates[place].labels[row] for place, row in zip(posed, rows, strict=True)])
    probability = np.concatenate([candidates[place].probability[row] for place, row in zip(posed, rows, strict=True)])
    sweep = np.repeat(np.arange(len(posed)), [len(row) for row in rows])
    _, cell_of = voxelize(points, cell)
    count = int(cell_of.max()) + 1
    place = cell_of * classes + labels
    votes = np.bincount(place, probability, count * classes).reshape(count, classes)
    voters = np.bincount(place, minlength=count * classes).reshape(count, classes)
    first = np.full(count, -1)
    first[cell_of[::-1]] = sweep[::-1]
    shared = np.zeros(count, bool)
    shared[cell_of[sweep != first[cell_of]]] = True
    winner = votes.argmax(1)
    won = votes[np.arange(count), winner]
    certainty = won / voters[np.arange(count), winner] * won / votes.sum(1)
    use = shared[cell_of]
    labels = np.where(use, winner[cell_of], labels).astype(np.uint8)
    probability = np.where(use, certainty[cell_of], probability).astype(np.float32)
    start = 0
    for index, row in zip(posed, rows, strict=True):
        stop = start + len(row)
        voted = Candidates(candidates[index].labels.copy(), candidates[index].probability.copy())
        voted.labels[row], voted.probability[row] = labels[start:stop], probability[start:stop]
        result[index] = voted
        start = stop
    return result
