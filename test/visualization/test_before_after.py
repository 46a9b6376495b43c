"""Which frames the pictures before and after are of, and what is said of them."""

import numpy as np
import pytest

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.visualization.before_after import Change, choose_frames

TRUTH = np.array([0, 0, 1, 1, IGNORE, 0], np.uint8)


def by_branch(*fused: int, seen: int = 5) -> dict[Branch, np.ndarray]:
    """seen: so many of the first points are seen by a camera."""
    ids = np.array(fused, np.uint8)
    return {Branch.FUSED: ids, Branch.IMAGE: np.where(np.arange(len(ids)) < seen, ids, IGNORE).astype(np.uint8)}


def test_a_change_is_counted_where_a_camera_sees_and_the_truth_is_known() -> None:
    before, after = by_branch(0, 1, 0, 1, 2, 1), by_branch(0, 0, 1, 0, 3, 0)
    change = Change.between(before, after, TRUTH)
    assert (change.changed, change.corrected, change.broken) == (0.8, 0.5, 0.25)
    assert change.gain == 0.25
    assert change.describe() == "50.0 % of the points corrected, 25.0 % broken"
    unknown = Change.between(before, after, None)
    assert (unknown.gain, unknown.describe()) == (0.8, "80.0 % of the points changed class")
    assert Change.between(before, after, np.full(6, IGNORE, np.uint8)) == unknown


def test_where_no_camera_sees_anything_all_labelled_points_count() -> None:
    before, after = by_branch(0, 1, 0, 1, IGNORE, 1, seen=0), by_branch(0, 0, 0, 1, IGNORE, 0, seen=0)
    assert Change.between(before, after, TRUTH).gain == pytest.approx(2 / 5)


def test_the_frames_with_most_and_least_gain_and_the_median_one_are_shown_and_named() -> None:
    changes = [Change(0.3, corrected, broken) for corrected, broken in ((0.1, 0), (0.0, 0.2), (0.3, 0.1), (0.05, 0))]
    chosen = choose_frames([*changes, Change(0.1, 0.06, 0.0)])
    assert chosen == {
        2: "Gained most of 5 frames: 30.0 % of the points corrected, 10.0 % broken",
        4: "Median of 5 frames: 6.0 % of the points corrected, 0.0 % broken",
        1: "Lost most of 5 frames: 0.0 % of the points corrected, 20.0 % broken",
    }
    assert list(chosen) == [2, 4, 1]
    without = choose_frames([Change(0.1), Change(0.3), Change(0.2)])
    assert list(without) == [1, 2, 0]
    assert without[0].startswith("Changed least of 3 frames: 10.0 %")


def test_few_frames_are_shown_once_each() -> None:
    assert choose_frames([]) == {}
    assert list(choose_frames([Change(0.1)]).values()) == [
        "Changed most of 1 frames: 10.0 % of the points changed class"
    ]
    assert list(choose_frames([Change(0.1), Change(0.2)])) == [1, 0]
