import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.adaptation.promotion.candidate_evaluation import HeldOutPredictions
from sam_adapt_ros.adaptation.promotion.candidate_metrics import Baselines
from sam_adapt_ros.adaptation.promotion.gate import Gate
from sam_adapt_ros.config import GateConfig

CLASSES = ("road", "wall", "car", "tree")
COUNT = 8000
TRUTH = np.random.default_rng(0).choice(4, COUNT, p=[0.5, 0.3, 0.12, 0.08]).astype(np.uint8)
SEEN = np.arange(COUNT) % 3 == 0
FRAME = np.arange(COUNT) // 800  # ten frames
NOT_FINITE = ("weights or predictions are not finite",)


def labels(error: float, seed: int, classes: int = 4) -> np.ndarray:
    """The truth, with a share of it replaced at random."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(COUNT) < error, rng.integers(0, classes, COUNT), TRUTH).astype(np.uint8)


def predictions(error: float, seed: int, confidence: float = 0.97) -> HeldOutPredictions:
    """Of a network whose branches err independently, and that is sure where it is right."""
    fused = labels(error, seed)
    probability = np.where(fused == TRUTH, confidence, 0.6).astype(np.float32)
    augmented = np.where(np.random.default_rng(seed + 1).random(COUNT) < error, labels(1, seed + 2), fused)
    image = np.where(SEEN, labels(2 * error, seed + 3), 255).astype(np.uint8)
    points = labels(1.5 * error, seed + 4)
    return HeldOutPredictions(fused, probability, image, points, augmented.astype(np.uint8), (1 - probability) / 2)


@pytest.fixture
def baselines() -> Baselines:
    before = labels(0.06, 8)
    source = predictions(0.25, 10)
    return Baselines(source, predictions(0.22, 20), source, before, SEEN, FRAME)


@pytest.fixture
def gate() -> Gate:
    return Gate(GateConfig(min_class_points=100), CLASSES)


def test_a_better_candidate_is_promoted(gate: Gate, baselines: Baselines) -> None:
    decision = gate.judge({"student": predictions(0.15, 30)}, baselines)
    assert decision.promoted == "student", decision.reason
    json.dumps(decision.as_dict(), allow_nan=False)


def test_the_best_of_several_is_promoted(gate: Gate, baselines: Baselines) -> None:
    some = {"good": predictions(0.19, 30), "better": predictions(0.12, 40), "broken": None}
    decision = gate.judge(some, baselines)
    assert decision.promoted == "better"
    assert [verdict.passed for verdict in decision.verdicts] == [True, True, False]


def test_a_whole_candidate_that_passes_is_preferred_to_a_part_of_it(gate: Gate, baselines: Baselines) -> None:
    some = {"whole": predictions(0.15, 30), "part": predictions(0.12, 40), "other": predictions(0.14, 50)}
    parts = {"part": "whole"}
    assert gate.judge(some, baselines).promoted == "part"
    assert gate.judge(some, baselines, parts=parts).promoted == "whole"
    some["whole"] = predictions(0.35, 30)  # does not pass
    assert gate.judge(some, baselines, parts=parts).promoted == "part"
    some |= {"whole": predictions(0.19, 30), "other": predictions(0.1, 60)}
    assert gate.judge(some, baselines, parts=parts).promoted == "other"  # better than any of them

    def source_miou(name: str) -> float:
        return 0.1 if name == "whole" else 0.8

    some["other"] = predictions(0.18, 60)
    assert gate.judge(some, baselines, source_miou, parts).promoted == "part"  # the whole forgets the source's domain


def test_a_sure_gain_is_preferred_to_a_larger_one_of_some_frames(gate: Gate, baselines: Baselines) -> None:
    """One candidate is better in every frame, the other much better in half of them."""
    good, same = predictions(0.02, 40), predictions(0.25, 50)
    half = HeldOutPredictions(
        *(
            np.where(FRAME % 2, first, second)
            for first, second in zip(vars(good).values(), vars(same).values(), strict=True)
        )
    )
    decision = gate.judge({"some frames": half, "every frame": predictions(0.14, 30)}, baselines)
    some, every = decision.verdicts
    assert some.passed and every.passed and some.score > every.score
    assert 0 < some.sure_gain < every.sure_gain
    assert decision.promoted == "every frame"


def test_the_same_again_is_not_promoted(gate: Gate, baselines: Baselines) -> None:
    assert not gate.judge({"same": baselines.current}, baselines).promoted


def test_a_worse_candidate_is_refused(gate: Gate, baselines: Baselines) -> None:
    decision = gate.judge({"worse": predictions(0.35, 30)}, baselines)
    assert not decision.promoted
    assert "consistency" in decision.reason or "source agreement" in decision.reason


def test_what_is_worse_than_batchnorm_alone_is_refused(gate: Gate, baselines: Baselines) -> None:
    baselines = replace(baselines, batchnorm=predictions(0.1, 20))
    decision = gate.judge({"student": predictions(0.15, 30)}, baselines)
    assert any("batchnorm" in reason for reason in decision.verdicts[0].refusals)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_is_refused(gate: Gate, baselines: Baselines, value: float) -> None:
    good = predictions(0.1, 30)
    good.probability[17] = value
    assert gate.judge({"student": good}, baselines).verdicts[0].refusals == NOT_FINITE
    assert gate.judge({"student": None}, baselines).verdicts[0].refusals == NOT_FINITE


def collapsed(lost: int, into: int) -> HeldOutPredictions:
    """Perfect, and in perfect agreement with itself, but for one class that became another."""
    merged = np.where(lost == TRUTH, into, TRUTH).astype(np.uint8)
    sure = np.full(COUNT, 0.97, np.float32)
    image = np.where(SEEN, merged, 255).astype(np.uint8)
    return HeldOutPredictions(merged, sure, image, merged, merged, (1 - sure) / 2)


def test_a_lost_class_is_a_collapse(gate: Gate, baselines: Baselines) -> None:
    for lost, into in ((2, 0), (3, 1), (0, 1)):
        verdict = gate.judge({"student": collapsed(lost, into)}, baselines).verdicts[0]
        assert any(reason.startswith(f"collapse: {CLASSES[lost]}") for reason in verdict.refusals), (lost, verdict)


def test_only_the_criteria_that_are_asked_for_count(baselines: Baselines) -> None:
    lost = collapsed(2, 0)
    whole = Gate(GateConfig(min_class_points=100), CLASSES).judge({"student": lost}, baselines).verdicts[0]
    assert {reason.partition(":")[0] for reason in whole.refusals} > {"collapse"}
    config = GateConfig(min_class_points=100, criteria=["collapse"])
    part = Gate(config, CLASSES).judge({"student": lost}, baselines).verdicts[0]
    assert part.refusals == tuple(reason for reason in whole.refusals if reason.startswith("collapse"))


def test_one_class_for_everything_is_a_collapse(gate: Gate, baselines: Baselines) -> None:
    nothing = np.zeros(COUNT, np.uint8)
    one = HeldOutPredictions(
        nothing, np.ones(COUNT, np.float32), nothing, nothing, nothing, np.zeros(COUNT, np.float32)
    )
    verdict = gate.judge({"student": one}, baselines).verdicts[0]
    assert any("entropy" in reason for reason in verdict.refusals)
    assert any("source agreement" in reason for reason in verdict.refusals)


def test_leaving_the_source_is_refused_however_consistent(gate: Gate, baselines: Baselines) -> None:
    swapped = np.where(TRUTH == 1, 3, np.where(TRUTH == 3, 1, TRUTH)).astype(np.uint8)
    image = np.where(SEEN, swapped, 255).astype(np.uint8)
    sure = np.full(COUNT, 0.97, np.float32)
    verdict = gate.judge(
        {"student": HeldOutPredictions(swapped, sure, image, swapped, swapped, (1 - sure) / 2)}, baselines
    ).verdicts[0]
    assert any(reason.startswith("source agreement") for reason in verdict.refusals)


def test_branches_that_agree_by_chance_are_refused(gate: Gate, baselines: Baselines) -> None:
    """A camera that sees noise: its branch says anything, and the teacher, who follows the other branch, agrees."""
    good = predictions(0.1, 30)
    noise = np.random.default_rng(3).choice(4, COUNT, p=[0.5, 0.3, 0.12, 0.08])
    verdict = gate.judge({"student": replace(good, image=np.where(SEEN, noise, 255).astype(np.uint8))}, baselines)
    assert any("kappa" in reason for reason in verdict.verdicts[0].refusals)
    assert gate.judge({"student": good}, baselines).promoted


def without_cars(good: HeldOutPredictions) -> HeldOutPredictions:
    """Tells them at random."""
    cars = TRUTH == 2
    random = np.random.default_rng(5).choice([2, 2, 2, 0, 1, 1, 3], COUNT).astype(np.uint8)
    return replace(
        good,
        points=np.where(cars, random, good.points).astype(np.uint8),
        image=np.where(cars & SEEN, random[::-1], good.image).astype(np.uint8),
        augmented=np.where(cars, random[::-1], good.augmented).astype(np.uint8),
        labels=np.where(cars, random, good.labels).astype(np.uint8),
    )


@pytest.mark.parametrize("knows_cars", ["current", "source", "batchnorm"])
def test_a_class_that_falls_apart_is_refused(gate: Gate, baselines: Baselines, knows_cars: str) -> None:
    """Better on the whole, but whichever of those compared with still tells cars, it does not."""
    others = {"current": predictions(0.15, 50), "source": predictions(0.16, 10), "batchnorm": predictions(0.15, 60)}
    known = {name: other if name == knows_cars else without_cars(other) for name, other in others.items()}
    baselines = replace(baselines, **known)
    verdict = gate.judge({"student": without_cars(predictions(0.08, 30))}, baselines).verdicts[0]
    assert any("car" in reason for reason in verdict.refusals), verdict


def test_without_held_out_points_nothing_is_promoted(gate: Gate) -> None:
    empty = HeldOutPredictions(
        *(np.zeros(0, kind) for kind in (np.uint8, np.float32, np.uint8, np.uint8, np.uint8, np.float32))
    )
    decision = gate.judge(
        {"student": empty},
        Baselines(empty, empty, empty, np.zeros(0, np.uint8), np.zeros(0, bool), np.zeros(0, np.int64)),
    )
    assert not decision.promoted
    assert not gate.judge(
        {}, Baselines(empty, empty, empty, np.zeros(0, np.uint8), np.zeros(0, bool), np.zeros(0, np.int64))
    ).promoted


@settings(max_examples=30, deadline=None)
@given(error=st.floats(0.0, 1.0), seed=st.integers(100, 10_000))
def test_nothing_clearly_worse_than_what_is_in_use_ever_passes(error: float, seed: int) -> None:
    before = labels(0.06, 8)
    current = predictions(0.2, 10)
    baselines = Baselines(current, predictions(0.22, 20), current, before, SEEN, FRAME)
    decision = Gate(GateConfig(min_class_points=100), CLASSES).judge({"student": predictions(error, seed)}, baselines)
    if error > 0.23:
        assert not decision.promoted
    if error < 0.15:
        assert decision.promoted


def test_on_labelled_frames_nothing_may_be_lost(baselines: Baselines) -> None:
    gate = Gate(GateConfig(min_class_points=100, source_miou_tolerance=0.02), CLASSES)
    some = {"good": predictions(0.19, 30), "better": predictions(0.12, 40), "worse": predictions(0.5, 50)}
    measured = {"good": 0.79, "better": 0.77, "current": 0.78, "source": 0.8, "worse": 0.9}
    asked = []

    def source_miou(name: str) -> float:
        asked.append(name)
        return measured[name]

    decision = gate.judge(some, baselines, source_miou)
    assert decision.promoted == "good"
    assert "worse" not in asked  # refused already
    assert decision.verdicts[0].numbers["source_miou/current"] == 0.78
    better = next(verdict for verdict in decision.verdicts if verdict.name == "better")
    assert better.refusals == ("labelled replay: mIoU 0.770 on frames of the source, at least 0.780 required",)
    measured["good"] = 0.7
    assert not gate.judge(some, baselines, source_miou).promoted


def test_the_source_comes_back_where_what_is_in_use_is_worth_no_more(gate: Gate, baselines: Baselines) -> None:
    baselines = replace(baselines, batchnorm=predictions(0.3, 20))
    assert not gate.judge({"student": baselines.source}, baselines).promoted
    assert gate.judge({"source": baselines.source}, baselines).promoted == "source"
    better = replace(baselines, current=predictions(0.2, 70))
    assert not gate.judge({"source": better.source}, better).promoted
