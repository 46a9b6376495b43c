"""Scales of the branches: found by their reliability, folded into the classifiers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.segmentation.fusion import product
from sam_adapt_ros.segmentation.logits import BranchLogits
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.temperature_scaling import LogitScales, fit_scales, scale_classifiers

CLASSES, POINTS, SEEN = 5, 4000, 2500


def make_logits(truth, reliability, sharpness, generator):
    """Logits that favour the true class in ``reliability`` of the rows, and any other one elsewhere."""
    right = generator.random(len(truth)) < reliability
    other = (truth + generator.integers(1, CLASSES, len(truth))) % CLASSES
    logits = generator.normal(0, 0.3, (len(truth), CLASSES))
    logits[np.arange(len(truth)), np.where(right, truth, other)] += 1
    return torch.tensor(sharpness * logits, dtype=torch.float32)


def street(image_reliability, sharpness=8.0, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, CLASSES, POINTS).astype(np.uint8)
    seen = np.sort(generator.permutation(POINTS)[:SEEN])
    image = make_logits(truth[seen], image_reliability, sharpness, generator)
    points = make_logits(truth, 0.8, sharpness, generator)
    return BranchLogits(image, points, torch.from_numpy(seen)), truth


def accuracy(logits, truth, scales):
    fused = product(logits.image * scales.image, logits.points[logits.seen] * scales.points)
    return float((fused.argmax(1).numpy() == truth[logits.seen.numpy()]).mean())


@pytest.mark.parametrize("reliability", [0.3, 0.55, 0.95])
def test_the_more_reliable_branch_weighs_more(reliability):
    logits, truth = street(reliability)
    scales = fit_scales([logits], [truth])
    assert (scales.image > scales.points) == (reliability > 0.8)
    assert accuracy(logits, truth, scales) >= accuracy(logits, truth, LogitScales()) - 0.002
    others, their_truth = street(reliability, seed=1)
    assert accuracy(others, their_truth, scales) > accuracy(others, their_truth, LogitScales()) - 0.005


def test_no_other_scales_explain_the_labels_better():
    logits, truth = street(0.5)

    def loss(scales):
        seen = logits.seen.numpy()
        unseen = np.setdiff1d(np.arange(POINTS), seen)
        fused = logits.image * scales.image + logits.points[seen] * scales.points
        nll = torch.nn.functional.cross_entropy
        alone = nll(logits.points[unseen] * scales.points, torch.tensor(truth[unseen], dtype=torch.int64))
        return float(nll(fused, torch.tensor(truth[seen], dtype=torch.int64)) + alone)

    found = fit_scales([logits], [truth])
    grid = [LogitScales(image, points) for image in np.geomspace(0.05, 2, 12) for points in np.geomspace(0.05, 2, 12)]
    assert loss(found) <= min(map(loss, grid)) + 1e-3


def test_frames_count_together_and_unknown_points_not_at_all():
    logits, truth = street(0.4)
    half = np.flatnonzero(np.arange(POINTS) < POINTS // 2)
    parts, labels = [], []
    for rows in (half, np.setdiff1d(np.arange(POINTS), half)):
        inside = np.isin(logits.seen.numpy(), rows)
        place = np.searchsorted(rows, logits.seen.numpy()[inside])
        parts.append(BranchLogits(logits.image[inside], logits.points[rows], torch.from_numpy(place)))
        labels.append(truth[rows])
    assert fit_scales(parts, labels) == pytest.approx(fit_scales([logits], [truth]), rel=1e-3)
    unknown = truth.copy()
    unknown[::2] = IGNORE
    spoiled = logits.points.clone()
    spoiled[::2] = 100 * torch.randn_like(spoiled[::2])
    spoiled_image = logits.image.clone()
    spoiled_image[logits.seen % 2 == 0] *= -50
    a = fit_scales([logits], [unknown])
    b = fit_scales([BranchLogits(spoiled_image, spoiled, logits.seen)], [unknown])
    assert a == pytest.approx(b, rel=1e-3)


def test_with_too_little_known_everything_stays():
    logits, truth = street(0.4)
    assert fit_scales([], []) == LogitScales()
    assert fit_scales([logits], [np.full(POINTS, IGNORE, np.uint8)]) == LogitScales()
    none = BranchLogits(torch.zeros(0, CLASSES), logits.points, torch.zeros(0, dtype=torch.int64))
    blind = fit_scales([none], [truth])
    assert blind.image == pytest.approx(1.0)
    assert blind.points != pytest.approx(1.0, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 1.0), st.floats(0.05, 20.0), st.integers(0, 1000))
def test_scales_stay_within_bounds(reliability, sharpness, seed):
    logits, truth = street(reliability, sharpness, seed)
    scales = fit_scales([logits], [truth])
    assert all(0.049 < value < 20.1 for value in scales)


def test_folding_scales_the_logits_and_nothing_else():
    state = {
        "image.heads.classify.weight": torch.randn(5, 3),
        "image.heads.classify.bias": torch.randn(5),
        "image.heads.imitate.weight": torch.randn(5, 3),
        "points.heads.classify.weight": torch.randn(5, 3),
        "points.stem.weight": torch.randn(2),
    }
    before = {name: tensor.clone() for name, tensor in state.items()}
    folded = scale_classifiers(state, LogitScales(0.5, 2.0), Network.classifiers)
    for name, tensor in state.items():
        assert tensor.equal(before[name])
        factor = {"image": 0.5, "points": 2.0}[name.partition(".")[0]] if "classify" in name else 1.0
        assert folded[name].equal(tensor * factor)


def test_a_branch_without_a_classifier_keeps_its_scale():
    scales = LogitScales(0.5, 2.0)
    assert scales.of(Network.classifiers) == scales
    assert scales.of({Branch.POINTS: "points.classify"}) == LogitScales(1.0, 2.0)
    names = "image.classify.weight", "points.classify.weight", "points.classify2.bias"
    state = {name: torch.ones(2) for name in names}
    folded = scale_classifiers(state, scales, {Branch.POINTS: "points.classify"})
    assert [float(folded[name][0]) for name in names] == [1.0, 2.0, 1.0]
