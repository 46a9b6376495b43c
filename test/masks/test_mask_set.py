import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros.geometry.projection import Projection
from sam_adapt_ros.masks import MaskSet, SeenPoints
from sam_adapt_ros.masks.mask_set import from_labels


def seen_at(uv) -> SeenPoints:
    uv = np.asarray(uv, np.float32).reshape(-1, 2)
    return SeenPoints(np.zeros((len(uv), 3), np.float32), np.arange(len(uv)), uv, np.ones(len(uv), np.float32))


def test_a_pixel_covers_half_a_pixel_around_its_centre():
    seen = seen_at([[-0.5, -0.5], [0.49, 0.49], [0.5, 1.5], [9.49, 4.49], [np.nextafter(np.float32(9.5), 0), 4.4999]])
    rows, columns = seen.pixels(5, 10)
    assert columns.tolist() == [0, 0, 1, 9, 9]
    assert rows.tolist() == [0, 0, 2, 4, 4]


def test_seen_points_are_the_valid_and_visible_ones():
    valid = np.array([True, False, True, True])
    uv = np.arange(8, dtype=np.float32).reshape(4, 2)
    projection = Projection(uv, np.arange(4, dtype=np.float32), valid, np.ones(4, np.float32))
    seen = SeenPoints.of(np.zeros((4, 3), np.float32), projection, np.array([True, True, False, True]))
    assert seen.index.tolist() == [0, 3]
    assert seen.uv.tolist() == [[0, 1], [6, 7]]
    assert seen.depth.tolist() == [0, 3]


@given(st.lists(st.integers(-1, 6), max_size=40), st.integers(0, 5), st.integers(0, 2))
def test_from_labels_equals_one_comparison_a_label(values, min_points, first):
    labels = np.array(values, np.int64)
    areas = np.arange(7, dtype=float) * 10
    masks = from_labels(labels, areas, "x", min_points, first)
    kept = [value for value in range(first, 7) if (labels == value).sum() >= max(min_points, 1)]
    assert masks.areas.tolist() == [10.0 * value for value in kept]
    assert masks.membership.shape == (len(kept), len(labels))
    for row, value in enumerate(kept):
        assert (masks.membership[row] == (labels == value)).all()


def test_concatenation_selection_and_filter():
    first = from_labels(np.array([0, 0, 1, -1]), np.array([5.0, 6.0]), "a", 1)
    second = MaskSet(np.ones((1, 4), bool), np.array([9.0]), ("b",), np.array([0.5], np.float32))
    both = MaskSet.concatenate([first, MaskSet.empty(4), second])
    assert both.sources == ("a", "a", "b")
    assert both.areas.tolist() == [5, 6, 9]
    assert np.isnan(both.scores[:2]).all() and both.scores[2] == 0.5
    assert both.with_at_least(2).sources == ("a", "b")
    assert both.select(np.array([2, 0])).areas.tolist() == [9, 5]


@pytest.mark.parametrize(
    "membership", [np.zeros((2, 3), np.uint8), np.zeros((3, 3), bool), np.zeros(3, bool)], ids=["dtype", "rows", "flat"]
)
def test_a_wrong_membership_is_named(membership):
    with pytest.raises(ValueError, match="membership"):
        MaskSet(membership, np.zeros(2))


def test_sets_about_different_points_do_not_mix():
    with pytest.raises(ValueError, match="sets"):
        MaskSet.concatenate([MaskSet.empty(3), MaskSet.empty(4)])
    with pytest.raises(ValueError, match="sets"):
        MaskSet.concatenate([])
