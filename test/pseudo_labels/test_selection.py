import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_adapt_ros.config import SelectionConfig
from sam_adapt_ros.pseudo_labels.selection import (
    Candidates,
    RunningThresholds,
    Selector,
    apply_thresholds,
    candidates,
    dataset_thresholds,
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


def random_candidates(rng, size, low=0.2):
    return Candidates(
        rng.integers(0, 3, size).astype(np.uint8), (low + (1 - low) * rng.random(size) ** 2).astype(np.float32)
    )


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_running_thresholds_are_those_of_the_data_set_to_a_bin(quantile):
    config = SelectionConfig(quantile=quantile, half_life=0, bins=1000)
    rng = np.random.default_rng(0)
    frames = [random_candidates(rng, 500) for _ in range(20)]
    running = RunningThresholds(4, config)
    for frame in frames:
        running.update(frame)
    everything = Candidates(*(np.concatenate([getattr(f, n) for f in frames]) for n in ("labels", "probability")))
    exact = dataset_thresholds(everything, 4, config)
    assert (running.thresholds() <= exact + 1e-6).all()
    np.testing.assert_allclose(running.thresholds(), exact, atol=2 / 1000)


def test_the_histogram_forgets():
    config = SelectionConfig(half_life=5, cap=1.0)
    running = RunningThresholds(3, config)
    rng = np.random.default_rng(0)
    for low in [0.2] * 50 + [0.8] * 50:
        running.update(random_candidates(rng, 300, low))
    for_ever = RunningThresholds(3, SelectionConfig(half_life=0, cap=1.0))
    rng = np.random.default_rng(0)
    for low in [0.2] * 50 + [0.8] * 50:
        for_ever.update(random_candidates(rng, 300, low))
    assert (running.thresholds() > 0.84).all() and (for_ever.thresholds() < 0.82).all()


def test_a_frames_weight_halves_in_a_half_life():
    config = SelectionConfig(half_life=10)
    running = RunningThresholds(1, config)
    running.update(Candidates(np.zeros(8, np.uint8), np.full(8, 0.5, np.float32)))
    for _ in range(10):
        running.update(Candidates(np.zeros(0, np.uint8), np.zeros(0, np.float32)))
    np.testing.assert_allclose(running.state()["counts"].sum(), 4)


def test_memory_is_bounded_and_state_goes_round():
    config = SelectionConfig()
    rng = np.random.default_rng(1)
    running = RunningThresholds(3, config)
    for _ in range(5):
        running.update(random_candidates(rng, 100))
    state = running.state()
    assert state["counts"].shape == (3, config.bins)
    other = RunningThresholds(3, config)
    other.restore(state)
    frame = random_candidates(rng, 100)
    running.update(frame)
    assert not np.array_equal(running.state()["counts"], state["counts"])  # the state is a copy
    other.update(frame)
    np.testing.assert_array_equal(running.thresholds(), other.thresholds())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bins", 5),
        ("counts", np.zeros((2, 2000))),
        ("counts", np.full((3, 2000), np.nan)),
        ("counts", np.full((3, 2000), -1)),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name, value):
    running = RunningThresholds(3, SelectionConfig())
    with pytest.raises(ValueError, match=f"^{name}:"):
        running.restore(running.state() | {name: value})


def test_a_class_outside_the_set_is_refused():
    with pytest.raises(ValueError, match="labels"):
        RunningThresholds(2, SelectionConfig()).update(Candidates(np.array([2], np.uint8), np.ones(1, np.float32)))


def test_classes_not_met_yet_have_the_cap():
    np.testing.assert_allclose(RunningThresholds(2, SelectionConfig()).thresholds(), 0.9)
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


def test_the_selector_keeps_the_confident_half():
    rng = np.random.default_rng(2)
    selector = Selector(2, SelectionConfig(branch="3d", cap=1.0))
    for _ in range(5):
        first = rng.uniform(0.01, 0.99, 4000).astype(np.float32)
        probabilities = np.stack([first, 1 - first], 1)
        labels = selector(probabilities, probabilities, probabilities, np.ones(4000, bool))
    kept = labels != IGNORE
    np.testing.assert_array_equal(labels[kept], probabilities.argmax(1)[kept])
    assert 0.48 < kept.mean() < 0.52
    for class_id in range(2):
        of_class = probabilities.argmax(1) == class_id
        probability = probabilities.max(1)
        assert probability[of_class & kept].min() >= probability[of_class & ~kept].max()
    before = selector.running.state()["counts"]
    selector(probabilities, probabilities, probabilities, np.ones(4000, bool), learn=False)
    np.testing.assert_array_equal(selector.running.state()["counts"], before)
