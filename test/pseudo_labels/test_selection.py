import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_adapt_ros.config import SelectionConfig
from sam_adapt_ros.pseudo_labels.selection import (
    Candidates,
    apply_thresholds,
    candidates,
    dataset_thresholds,
    streamed_thresholds,
)

IGNORE = 255


def published_filter(probs, pseudo_label):
    """xMUDA's, by its definition: a class's predictions are dropped below min(median, 0.9)."""
    probs, pseudo_label = torch.tensor(probs), torch.tensor(pseudo_label.astype(np.int64))
    for class_id in pseudo_label.unique():
        of_class = pseudo_label == class_id
        threshold = min(probs[of_class].median(), 0.9)
        pseudo_label[of_class & (probs < threshold)] = IGNORE
    return pseudo_label.numpy().astype(np.uint8)


@given(
    hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(0.125, 1, width=32)),
    st.integers(0, 2**31),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_whole_data_set_equals_the_published_filter(probability, seed, confident):
    if confident:
        probability = np.float32(1) - (np.float32(1) - probability) / 8  # medians above the cap
    labels = np.random.default_rng(seed).integers(0, 4, len(probability)).astype(np.uint8)
    found = Candidates(labels, probability)
    result = apply_thresholds(found, dataset_thresholds(found, 5, SelectionConfig()))
    np.testing.assert_array_equal(result, published_filter(probability, labels))


@given(
    hnp.arrays(np.float32, st.integers(0, 200), elements=st.floats(2**-20, 1, width=32)),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.3, 0.5, 0.99, 1.0]),
    st.sampled_from([0.9, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_thresholds_of_frames_one_by_one_are_those_of_all_at_once(probability, seed, quantile, cap):
    rng = np.random.default_rng(seed)
    probability[rng.random(len(probability)) < 0.3] = np.float32(0.625)  # many are equal
    labels = rng.choice(np.array([0, 1, 3, 255], np.uint8), len(probability))
    probability[labels == 255] = 0
    cuts = np.sort(rng.integers(0, len(labels) + 1, 3))
    frames = [Candidates(*pair) for pair in zip(np.split(labels, cuts), np.split(probability, cuts), strict=True)]
    config = SelectionConfig(quantile=quantile, cap=cap)
    expected = dataset_thresholds(Candidates(labels, probability), 5, config)
    found = streamed_thresholds(lambda: iter(frames), 5, config)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype == np.float32


def test_classes_that_are_never_predicted_have_the_cap():
    np.testing.assert_allclose(
        dataset_thresholds(Candidates(np.zeros(0, np.uint8), np.zeros(0, np.float32)), 2, SelectionConfig()), 0.9
    )


IMAGE = np.array([[0.7, 0.3], [0.2, 0.8], [0, 0], [0.6, 0.4]], np.float32)
POINTS = np.array([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.55, 0.45]], np.float32)
SEEN = np.array([True, True, False, True])
FUSED = np.array([[0.65, 0.35], [0.55, 0.45], [0.1, 0.9], [0.4, 0.6]], np.float32)  # the last agrees with neither


@pytest.mark.parametrize(
    ("branch", "agreement", "labels"),
    [
        ("fused", False, [0, 0, 1, 1]),
        ("2d", False, [0, 1, IGNORE, 0]),
        ("3d", False, [0, 0, 1, 0]),
        ("fused", True, [0, IGNORE, IGNORE, IGNORE]),
        ("3d", True, [0, IGNORE, IGNORE, 0]),
    ],
)
def test_branches_and_agreement(branch, agreement, labels):
    found = candidates(FUSED, IMAGE, POINTS, SEEN, SelectionConfig(branch=branch, require_agreement=agreement))
    np.testing.assert_array_equal(found.labels, labels)
    chosen = {"fused": FUSED, "2d": IMAGE, "3d": POINTS}[branch].max(1)
    np.testing.assert_array_equal(found.probability, np.where(found.labels == IGNORE, 0, chosen))


def test_points_without_a_probability_are_no_candidates():
    broken = np.array([[np.nan, 0.5], [0, 0]], np.float32)
    found = candidates(broken, broken, broken, np.ones(2, bool), SelectionConfig())
    np.testing.assert_array_equal(found.labels, [IGNORE, IGNORE])


def test_the_confident_half_of_every_class_is_kept():
    first = np.random.default_rng(2).uniform(0.01, 0.99, 4000).astype(np.float32)
    probabilities = np.stack([first, 1 - first], 1)
    config = SelectionConfig(branch="3d", cap=1.0)
    found = candidates(probabilities, probabilities, probabilities, np.ones(4000, bool), config)
    labels = apply_thresholds(found, dataset_thresholds(found, 2, config))
    kept = labels != IGNORE
    np.testing.assert_array_equal(labels[kept], probabilities.argmax(1)[kept])
    assert 0.48 < kept.mean() < 0.52
    for class_id in range(2):
        of_class = probabilities.argmax(1) == class_id
        probability = probabilities.max(1)
        assert probability[of_class & kept].min() >= probability[of_class & ~kept].max()
