import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_adapt_ros.evaluation.label_statistics import LabelStatistics

IGNORE = 255
LABELS = np.array([0, 0, 1, 1, IGNORE, IGNORE, 0, 2], np.uint8)
TRUTH = np.array([0, 1, 1, 1, 0, 1, IGNORE, IGNORE], np.uint8)


def test_by_hand():
    statistics = LabelStatistics(3)
    statistics.add(LABELS, TRUTH)
    assert statistics.coverage == 6 / 8
    assert statistics.precision == 3 / 4
    assert statistics.recall == 3 / 6
    np.testing.assert_array_equal(statistics.coverage_by_class, [1 / 2, 3 / 4, np.nan])
    np.testing.assert_array_equal(statistics.precision_by_class, [1 / 2, 1, np.nan])
    np.testing.assert_array_equal(statistics.recall_by_class, [1 / 2, 2 / 4, np.nan])
    report = statistics.as_dict(("a", "b", "c"))
    assert report["classes"]["c"] == {"labelled": 1, "coverage": None, "precision": None, "recall": None}


def test_without_truth_there_is_coverage_only():
    statistics = LabelStatistics(3)
    statistics.add(LABELS)
    assert statistics.coverage == 6 / 8
    assert np.isnan(statistics.precision) and np.isnan(statistics.recall)
    assert np.isnan(LabelStatistics(3).coverage)


def test_among():
    statistics = LabelStatistics(3)
    statistics.add(LABELS, TRUTH, among=np.arange(8) < 4)
    assert statistics.points == 4 and statistics.coverage == 1


ids = hnp.arrays(np.uint8, 30, elements=st.sampled_from([0, 1, 2, IGNORE]))


@given(ids, ids, st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_frames_add_up(labels, truth, cut):
    whole, parts = LabelStatistics(3), LabelStatistics(3)
    whole.add(labels, truth)
    parts.add(labels[:cut], truth[:cut])
    parts.add(labels[cut:], truth[cut:])
    assert parts.points == whole.points
    np.testing.assert_array_equal(parts.confusion.counts, whole.confusion.counts)
    np.testing.assert_array_equal(parts.labelled, whole.labelled)
    for class_id in range(3):
        right = ((labels == class_id) & (truth == class_id)).sum()
        if (truth == class_id).any():
            assert whole.recall_by_class[class_id] == right / (truth == class_id).sum()


@pytest.mark.parametrize("name", ["labels", "truth"])
def test_a_class_outside_the_set_is_refused(name):
    arrays = {"labels": np.zeros(2, np.uint8), "truth": np.zeros(2, np.uint8)} | {name: np.array([0, 3], np.uint8)}
    with pytest.raises(ValueError, match=f"^{name}:"):
        LabelStatistics(3).add(**arrays)
