import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros.evaluation.confusion import Confusion, iou_of

IDS = st.sampled_from([0, 1, 2, 3, 255])


@given(st.lists(st.tuples(IDS, IDS), max_size=60))
def test_iou_matches_sets(pairs: list[tuple[int, int]]) -> None:
    truth = np.array([t for t, _ in pairs], np.uint8)
    predicted = np.array([p for _, p in pairs], np.uint8)
    confusion = Confusion(4)
    half = len(pairs) // 2
    confusion.add(truth[:half], predicted[:half])
    confusion.add(truth[half:], predicted[half:])
    counted = [(t, p) for t, p in pairs if t != 255]
    for c in range(4):
        both = sum(t == c and p == c for t, p in counted)
        either = sum(t == c or p == c for t, p in counted)
        value = confusion.iou()[c]
        assert value == pytest.approx(both / either) if either else np.isnan(value)
    assert confusion.points == len(counted)


def test_mean_leaves_absent_classes_out() -> None:
    confusion = Confusion(3)
    confusion.add([0, 0, 1, 255], [0, 0, 1, 2])
    assert confusion.miou() == 1
    assert np.isnan(Confusion(3).miou())


def test_means_over_the_classes_that_the_truth_has_and_over_all() -> None:
    confusion = Confusion(4)  # class 1 is only predicted, class 3 does not occur at all
    confusion.add([0, 0, 0, 0, 2, 2], [0, 0, 0, 1, 2, 2])
    assert confusion.iou() == pytest.approx([0.75, 0, 1, np.nan], nan_ok=True)
    assert confusion.miou() == pytest.approx(1.75 / 3)
    assert confusion.miou_present() == pytest.approx(1.75 / 2)
    assert confusion.miou_published() == pytest.approx(1.75 / 4)
    assert np.isnan(Confusion(2).miou_present()) and np.isnan(Confusion(2).miou_published())


def test_iou_of_many_confusions_at_once() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, (2, 5, 3, 4))
    counts[0, 0, 1] = counts[0, 0, :, 1] = 0
    found = iou_of(counts)
    for place in np.ndindex(2, 5):
        confusion = Confusion(3)
        confusion.counts = counts[place]
        np.testing.assert_array_equal(found[place], confusion.iou())


def test_points_without_a_prediction_have_a_column_of_their_own() -> None:
    confusion = Confusion(2)
    confusion.add([0, 0, 1, 255], [0, 255, 0, 255])
    np.testing.assert_array_equal(confusion.counts, [[1, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(confusion.matrix, [[1, 0], [1, 0]])


def test_sum_equals_one_matrix_over_all() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 500))
    whole, parts = Confusion(3), Confusion(3)
    whole.add(truth, predicted)
    for chunk in np.array_split(np.arange(500), 4):
        part = Confusion(3)
        part.add(truth[chunk], predicted[chunk])
        parts += part
    np.testing.assert_array_equal(whole.counts, parts.counts)


@pytest.mark.parametrize(("truth", "predicted"), [([3], [0]), ([0], [7]), ([0, 1], [0])])
def test_foreign_ids_and_shapes_are_refused(truth: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Confusion(3).add(truth, predicted)
