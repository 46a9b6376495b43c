import numpy as np
import pytest

from sam_adapt_ros.adaptation.promotion.candidate_evaluation import HeldOutPredictions
from sam_adapt_ros.adaptation.promotion.candidate_metrics import Baselines, MetricsCalculator, class_iou
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import GateConfig

CLASSES = ("road", "car")
CONFIG = GateConfig(min_class_points=2)


def predictions(labels, image=None, points=None, augmented=None, probability=1.0, entropy=0.5):
    labels = np.array(labels, np.uint8)
    image, points, augmented = (
        labels if each is None else np.array(each, np.uint8) for each in (image, points, augmented)
    )
    probability = np.broadcast_to(np.float32(probability), labels.shape)
    return HeldOutPredictions(labels, probability, image, points, augmented, np.full(labels.shape, entropy, np.float32))


def calculator(source, pseudo_labels, seen):
    pseudo_labels, seen = np.array(pseudo_labels, np.uint8), np.array(seen, bool)
    frame = np.arange(len(seen)) // 2
    return MetricsCalculator(Baselines(source, source, source, pseudo_labels, seen, frame), CLASSES, CONFIG)


def test_class_iou_counts_where_both_labellings_have_a_label() -> None:
    first = np.array([0, 0, 1, 1, 255, 2], np.uint8)
    second = np.array([0, 1, 1, 1, 1, 255], np.uint8)
    np.testing.assert_allclose(class_iou(first, second, 3), [1 / 2, 2 / 3, np.nan])


def test_metrics_of_a_handful_of_points() -> None:
    source = predictions([0, 0, 0, 1, 1, 1], probability=np.array([1, 1, 0.5, 1, 1, 0.5], np.float32))
    measured = calculator(source, [0, 0, 1, 1, 0, 255], [1, 1, 1, 1, 0, 0]).measure(
        predictions([0, 0, 0, 1, 0, 1], image=[0, 0, 1, 1, 255, 255], points=[0, 0, 0, 1, 1, 1], augmented=[0] * 6)
    )
    assert measured.fused_agreement == pytest.approx((2 / 3 + 1 / 2) / 2)  # of the first four
    assert measured.image_agreement == pytest.approx(1.0)
    assert measured.score == pytest.approx((measured.fused_agreement + measured.image_agreement) / 2)
    assert measured.class_iou == pytest.approx({"road": 2 / 3, "car": 1 / 2})
    drawn = {name: set(np.round(draws[~np.isnan(draws)], 6)) for name, draws in measured.class_draws.items()}
    assert drawn == {"road": {round(2 / 3, 6), 1.0}, "car": {0.5}}  # of the fused labels; a draw may lack a frame
    assert measured.pseudo_label_agreement == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert measured.source_agreement == pytest.approx(3 / 4)  # of points 0, 1, 3, 4
    assert measured.class_source_agreement == pytest.approx({"road": 1.0, "car": 0.5})
    assert measured.branch_agreement == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert measured.branch_kappa == pytest.approx((3 / 4 - (1 / 2 * 3 / 4 + 1 / 2 * 1 / 4)) / (1 - 1 / 2))
    assert measured.augmentation_agreement == pytest.approx((4 / 6 + 0) / 2)
    assert measured.entropy == pytest.approx(0.5)
    assert measured.class_share == pytest.approx({"road": 4 / 6, "car": 2 / 6})
    assert measured.single_class_share == pytest.approx({Branch.IMAGE: 1 / 2, Branch.POINTS: 1 / 2})
    numbers = measured.as_dict()
    assert numbers["class_iou/car"] == measured.class_iou["car"]
    assert numbers["single_class_share/2d"] == 1 / 2


def test_without_a_camera_all_points_are_judged_and_branches_are_not_compared() -> None:
    source = predictions([0, 0, 1, 1], image=[255] * 4)
    measured = calculator(source, [0, 0, 1, 1], [0] * 4).measure(source)
    assert measured.score == measured.fused_agreement == measured.pseudo_label_agreement == 1.0
    assert measured.image_agreement is None
    assert measured.branch_kappa is None
    assert "branch_kappa" not in measured.as_dict()


def test_too_few_pseudo_labels_conclude_nothing() -> None:
    source = predictions([0, 0, 1, 1])
    assert calculator(source, [0, 0, 1, 1], [1] * 4).enough
    assert not calculator(source, [0, 0, 1, 255], [1] * 4).enough
    assert not calculator(source, [0, 0, 1, 1], [1, 1, 1, 0]).enough


def test_draws_are_the_score_of_frames_drawn_again() -> None:
    """Two frames of two points, the first right and the second wrong: a draw has none, one or two of either."""
    source = predictions([0, 1, 0, 1])
    calculate = calculator(source, [0, 1, 0, 1], [1] * 4)
    half = calculate.measure(predictions([0, 1, 1, 0]))
    assert half.score == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert set(np.round(half.draws, 6)) == {0.0, round(1 / 3, 6), 1.0}
    assert 0.15 < (half.draws == 1.0).mean() < 0.35
    whole = calculate.measure(source)
    np.testing.assert_array_equal(whole.draws, 1.0)
    np.testing.assert_array_equal(whole.class_draws["car"], 1.0)
    np.testing.assert_allclose(np.mean([half.class_draws["road"], half.class_draws["car"]], 0), half.draws)
    assert set(np.round(half.class_draws["car"], 6)) == {0.0, round(1 / 3, 6), 1.0}
    assert not any("draws" in name for name in whole.as_dict())


def test_draws_without_a_class_have_none_of_its_iou() -> None:
    source = predictions([0, 0, 1, 1])
    measured = calculator(source, [0, 0, 1, 1], [1] * 4).measure(source)  # a class a frame
    for name in CLASSES:
        lacking = np.isnan(measured.class_draws[name])
        assert 0.15 < lacking.mean() < 0.35
        assert (measured.class_draws[name][~lacking] == 1).all()
    assert set(measured.draws) == {0.5, 1.0}
