"""Each criterion alone, at its threshold; what they come to together is the gate's test."""

from dataclasses import replace

import numpy as np
import pytest

from sam_adapt_ros.adaptation.promotion import criteria
from sam_adapt_ros.adaptation.promotion.candidate_metrics import CandidateMetrics
from sam_adapt_ros.adaptation.promotion.criteria import Comparison
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import GateConfig

CONFIG = GateConfig()
USUAL = CandidateMetrics(
    score=0.8,
    draws=np.linspace(0.77, 0.83, 101),
    fused_agreement=0.9,
    image_agreement=0.7,
    class_iou={"road": 0.9, "car": 0.7},
    class_draws={"road": np.full(101, 0.9), "car": np.linspace(0.65, 0.75, 101)},
    pseudo_label_agreement=0.75,
    source_agreement=0.97,
    class_source_agreement={"road": 0.99, "car": 0.9},
    branch_agreement=0.6,
    branch_kappa=0.7,
    augmentation_agreement=0.85,
    entropy=0.2,
    class_share={"road": 0.7, "car": 0.3},
    single_class_share={Branch.IMAGE: 0.7, Branch.POINTS: 0.7},
)
BETTER = replace(USUAL, score=0.81, draws=USUAL.draws + 0.01)


def drawn(class_iou: dict[str, float]) -> dict[str, np.ndarray]:
    """Draws in which every class is as far from the usual ones as on all frames together."""
    return {name: USUAL.class_draws[name] + found - USUAL.class_iou[name] for name, found in class_iou.items()}


def compare(candidate: CandidateMetrics = BETTER, **changes: object) -> Comparison:
    return Comparison(**{"candidate": candidate, "current": USUAL, "source": USUAL, "batchnorm": USUAL, **changes})


def test_a_candidate_that_is_a_little_better_meets_every_criterion() -> None:
    assert [criterion(compare(), CONFIG) for criterion in criteria.CRITERIA.values()] == [[]] * 5
    assert [*criteria.CRITERIA] == CONFIG.criteria


@pytest.mark.parametrize(
    ("criterion", "changes", "refusal"),
    [
        (
            criteria.source_agreement,
            {"source_agreement": 0.89},
            "source agreement: 0.890 where the source is confident, at least 0.900 required",
        ),
        (
            criteria.source_agreement,
            {"class_source_agreement": {"road": 0.99, "car": 0.49}},
            "source agreement: car: 0.490, at least 0.500 required",
        ),
        (criteria.collapse, {"entropy": 0.05}, "collapse: mean entropy 0.0500, at least 0.0600 required"),
        (
            criteria.collapse,
            {"single_class_share": {Branch.IMAGE: 0.7, Branch.POINTS: 0.95}},
            "collapse: 3d: one class on 0.950 of the points, at most 0.9 allowed",
        ),
        (
            criteria.collapse,
            {"class_share": {"road": 0.9, "car": 0.1}},
            "collapse: car on 0.1000 of the points, at least 0.1200 required",
        ),
        (
            criteria.collapse,
            {"class_share": {"road": 0.3, "car": 0.8}},
            "collapse: car on 0.8000 of the points, at most 0.7550 allowed",
        ),
        (
            criteria.branch_agreement,
            {"branch_kappa": 0.05},
            "branch agreement: 2D and 3D agree by chance: kappa 0.050, at least 0.1 required",
        ),
        (
            criteria.consistency,
            {"branch_agreement": 0.5},
            "consistency: 2D/3D agreement 0.500, at least 0.550 required (in use 0.600)",
        ),
        (
            criteria.consistency,
            {"augmentation_agreement": 0.79},
            "consistency: agreement under augmentation 0.790, at least 0.800 required (in use 0.850)",
        ),
        (
            criteria.consistency,
            {"pseudo_label_agreement": 0.69},
            "consistency: agreement with pseudo-labels of all points 0.690, at least 0.700 required (in use 0.750)",
        ),
        (
            criteria.consistency,
            {"fused_agreement": 0.87},
            "consistency: agreement of the fused labels with pseudo-labels 0.870, at least 0.880 required "
            "(in use 0.900)",
        ),
        (
            criteria.consistency,
            {"score": 0.802},
            "consistency: agreement with pseudo-labels 0.802, at least 0.803 required (in use 0.800)",
        ),
        (
            criteria.class_iou,
            {"class_iou": {"road": 0.9, "car": 0.61}, "class_draws": drawn({"road": 0.9, "car": 0.61})},
            "class IoU: car: 0.610 with its pseudo-labels, at least 0.620 required",
        ),
    ],
)
def test_each_refusal_says_what_was_found_and_what_is_required(criterion, changes: dict, refusal: str) -> None:
    assert criterion(compare(replace(BETTER, **changes)), CONFIG) == [refusal]


def test_as_much_as_batchnorm_alone_a_candidate_may_leave_the_source_down_to_a_floor() -> None:
    for allowed, least in ((0.85, 0.8), (0.7, 0.75)):
        batchnorm = replace(USUAL, source_agreement=allowed)
        for found, refused in ((least, False), (least - 0.01, True)):
            compared = compare(replace(BETTER, source_agreement=found), batchnorm=batchnorm)
            assert bool(criteria.source_agreement(compared, CONFIG)) == refused


def test_a_class_that_hardly_exists_may_vanish() -> None:
    rare = replace(USUAL, class_share={"road": 0.998, "car": 0.002})
    gone = replace(BETTER, class_share={"road": 1.0, "car": 0.0})
    assert not criteria.collapse(compare(gone, source=rare), CONFIG)


def test_without_a_camera_branches_are_not_compared_by_kappa() -> None:
    assert not criteria.branch_agreement(compare(replace(BETTER, branch_kappa=None)), CONFIG)


@pytest.mark.parametrize("name", ["source", "batchnorm"])
def test_no_baseline_may_agree_better_with_the_pseudo_labels(name: str) -> None:
    refusals = criteria.consistency(compare(**{name: replace(USUAL, score=0.82)}), CONFIG)
    assert refusals == [f"consistency: agreement with pseudo-labels 0.810, at least 0.820 required ({name})"]


def test_a_gain_that_hangs_on_a_few_frames_is_refused() -> None:
    """The mean gains 0.01, but in a fifth of the draws the candidate loses."""
    unsure = replace(BETTER, draws=USUAL.draws + np.where(np.arange(101) % 5, 0.0125, -0.002))
    assert criteria.consistency(compare(unsure), CONFIG) == [
        "consistency: agreement with pseudo-labels better by 0.010, but with other held-out frames perhaps by -0.002: "
        "at least 0 required with confidence 0.9"
    ]
    assert not criteria.consistency(compare(unsure), CONFIG.model_copy(update={"confidence": 0.7}))
    assert not criteria.consistency(compare(unsure, is_source=True), CONFIG)


def test_the_source_itself_needs_no_gain() -> None:
    assert criteria.consistency(compare(USUAL), CONFIG)
    assert not criteria.consistency(compare(USUAL, is_source=True), CONFIG)


@pytest.mark.parametrize("name", ["current", "source", "batchnorm"])
def test_a_class_is_compared_with_the_best_baseline(name: str) -> None:
    better = {"road": 0.9, "car": 0.79}
    assert criteria.class_iou(compare(**{name: replace(USUAL, class_iou=better, class_draws=drawn(better))}), CONFIG)


def test_a_class_that_loses_on_a_few_frames_only_is_no_reason_against() -> None:
    """The mean loses 0.1, but in a fifth of the draws next to nothing."""
    draws = USUAL.class_draws | {"car": USUAL.class_draws["car"] - np.where(np.arange(101) % 5, 0.125, 0.01)}
    unsure = replace(BETTER, class_iou={"road": 0.9, "car": 0.6}, class_draws=draws)
    assert not criteria.class_iou(compare(unsure), CONFIG)
    assert criteria.class_iou(compare(unsure), CONFIG.model_copy(update={"confidence": 0.7}))


def test_draws_without_a_class_say_nothing_of_it() -> None:
    """On one of three frames only, which a third of the draws lack."""
    lacking = np.arange(101) % 3 == 0
    usual, worse = (
        replace(each, class_iou=each.class_iou | {"car": iou}, class_draws=each.class_draws | {
            "car": np.where(lacking, np.nan, iou)
        })
        for each, iou in ((USUAL, 0.7), (BETTER, 0.2))
    )  # fmt: skip
    assert criteria.class_iou(compare(worse, current=usual, source=usual, batchnorm=usual), CONFIG)


def test_labelled_replay_compares_with_the_better_of_current_and_source() -> None:
    assert not criteria.labelled_replay(0.79, 0.7, 0.8, CONFIG)
    for current, source in ((0.7, 0.8), (0.8, 0.7)):
        assert criteria.labelled_replay(0.775, current, source, CONFIG) == [
            "labelled replay: mIoU 0.775 on frames of the source, at least 0.780 required"
        ]
