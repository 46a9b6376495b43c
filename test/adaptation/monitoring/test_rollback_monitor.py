"""When weights in use have to go, and when it is only the scene that changes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sam_adapt_ros.adaptation.monitoring.rollback_monitor import FrameStatistics, RollbackMonitor, frame_statistics
from sam_adapt_ros.config import Config, RollbackConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.segmentation import Prediction

CONFIG = RollbackConfig()
# As the town's day and night show them to the shipped model: medians, and how much frames differ.
DAY = {
    "agreement": (0.89, 0.015),
    "confidence": (0.97, 0.005),
    "single_class_2d": (0.49, 0.04),
    "single_class_3d": (0.36, 0.04),
}
NIGHT = {**DAY, "agreement": (0.43, 0.12), "confidence": (0.97, 0.005)}
HISTOGRAM = np.array([0.36, 0.12, 0.09, 0.24, 0.10, 0.05, 0.02, 0.02])


def make_prediction(points: int, classes: int = 8, seed: int = 0, seen: float = 0.3) -> Prediction:
    rng = np.random.default_rng(seed)
    image, by_points = (rng.dirichlet(np.ones(classes), points).astype(np.float32) for _ in range(2))
    is_seen = rng.random(points) < seen
    image[~is_seen] = 0
    fused = np.where(is_seen[:, None], (image + by_points) / 2, by_points).astype(np.float32)
    labels = fused.argmax(1).astype(np.uint8)
    return Prediction(labels, fused.max(1), fused, image, by_points, is_seen, {})


def frame(rng: np.random.Generator, look: dict = DAY, histogram: np.ndarray = HISTOGRAM, **values: float):
    drawn = {name: float(np.clip(rng.normal(middle, spread), 0, 1)) for name, (middle, spread) in look.items()}
    noisy = rng.dirichlet(200 * histogram + 1e-3)
    return FrameStatistics(
        finite=True, histogram=noisy, **{"single_class_fused": float(noisy.max()), **drawn, **values}
    )


def swapped(rng: np.random.Generator, before: dict = DAY, frames: int = 30) -> RollbackMonitor:
    """A monitor that has seen frames of the source, and is now told of new weights."""
    monitor = RollbackMonitor(CONFIG)
    for _ in range(frames):
        assert monitor.observe(frame(rng, before)) is None
    monitor.swapped(source=False, newer=True)
    return monitor


def failure_within(
    monitor: RollbackMonitor, rng: np.random.Generator, frames: int, *args, **values
) -> tuple[int, str] | None:
    for place in range(frames):
        reason = monitor.observe(frame(rng, *args, **values))
        if reason is not None:
            return place + 1, reason
    return None


# What a frame shows ---------------------------------------------------------------------------------------------------


def test_behaviour_is_what_a_slow_count_says() -> None:
    prediction = make_prediction(500)
    prediction.labels[[3, 8]], prediction.probability[[3, 8]], prediction.points[[3, 8]] = 255, 0, 0
    prediction.seen[[3, 8]] = False
    found = frame_statistics(prediction)
    same, images, points, labels, total = 0, [], [], [], 0.0
    for n in range(500):
        if prediction.labels[n] == 255:
            continue
        labels.append(prediction.labels[n])
        total += prediction.fused[n].max()
        if prediction.seen[n]:
            images.append(int(np.argmax(prediction.image[n])))
            points.append(int(np.argmax(prediction.points[n])))
            same += images[-1] == points[-1]
    assert found.finite
    assert found.agreement == pytest.approx(same / len(images))
    assert found.confidence == pytest.approx(total / 498, abs=1e-5)
    for name, classes in (("single_class_2d", images), ("single_class_3d", points), ("single_class_fused", labels)):
        assert getattr(found, name) == pytest.approx(max(classes.count(c) for c in range(8)) / len(classes))
    assert found.histogram.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("branch", ["image", "points", "probability"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_number_that_is_not_finite_is_found(branch: str, value: float) -> None:
    prediction = make_prediction(1000)
    getattr(prediction, branch).reshape(1000, -1)[777, 0] = value
    assert not frame_statistics(prediction).finite


def test_frames_without_points_or_without_a_camera_say_nothing_wrong() -> None:
    rng = np.random.default_rng(0)
    for odd in (make_prediction(0), make_prediction(100, seen=0.0)):
        shown = frame_statistics(odd)
        assert shown.finite
        assert math.isnan(shown.agreement)
        monitor = swapped(rng)
        for _ in range(5):
            assert monitor.observe(shown) is None
    # A camera that fails for good: the points alone go on, and are not judged by what it saw.
    monitor = swapped(rng)
    blind = dataclasses.replace(frame(rng), agreement=math.nan, single_class_2d=math.nan)
    assert all(monitor.observe(blind) is None for _ in range(200))
    assert monitor.state == "trusted"


def test_branches_are_compared_on_a_part_of_many_points() -> None:
    prediction = make_prediction(35_000, seen=1.0)
    everywhere = float((prediction.image.argmax(1) == prediction.points.argmax(1)).mean())
    assert frame_statistics(prediction).agreement == pytest.approx(everywhere, abs=0.02)


# New weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [DAY, NIGHT, {**DAY, "agreement": (0.5, 0.3)}], ids=["day", "night", "flicker"])
def test_noise_alone_is_no_failure(look: dict) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        monitor = swapped(rng, look)
        assert failure_within(monitor, rng, 100, look) is None, (seed, monitor.reason)
        assert monitor.state == "trusted"


def test_better_weights_pass_and_are_then_trusted() -> None:
    rng = np.random.default_rng(1)
    monitor = swapped(rng, NIGHT)
    assert monitor.state == "trial"
    assert failure_within(monitor, rng, CONFIG.trial, {**NIGHT, "agreement": (0.67, 0.07)}) is None
    assert monitor.state == "trusted"


BAD = {
    "agreement": (
        {**DAY, "agreement": (0.49, 0.08)},
        HISTOGRAM,
        "2D/3D agreement fell from 0.8",
    ),  # noise on the image branch
    "confidence": ({**DAY, "confidence": (0.82, 0.01)}, HISTOGRAM, "confidence fell from 0.9"),
    "image": ({**DAY, "single_class_2d": (0.99, 0.002)}, HISTOGRAM, "one class everywhere in 2d"),
    "points": ({**DAY, "single_class_3d": (0.99, 0.002)}, HISTOGRAM, "one class everywhere in 3d"),
    "fused": (DAY, np.array([0.99, 0.01, 0, 0, 0, 0, 0, 0]), "one class everywhere in fused"),
    "histogram": (DAY, HISTOGRAM[::-1], "changed class"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_weights_fail_at_once_and_say_why(kind: str) -> None:
    look, histogram, expected = BAD[kind]
    rng = np.random.default_rng(2)
    monitor = swapped(rng)
    failure = failure_within(monitor, rng, CONFIG.trial, look, histogram)
    assert failure is not None
    assert failure[0] == CONFIG.min_frames
    assert expected in failure[1]
    assert (monitor.state, monitor.reason) == ("failed", failure[1])
    assert failure_within(monitor, rng, 50, look, histogram) is None, "said once"


def test_a_number_that_is_not_finite_is_a_failure_with_the_first_frame() -> None:
    rng = np.random.default_rng(3)
    broken = dataclasses.replace(frame(rng), finite=False, agreement=math.nan, confidence=math.nan)
    monitor = swapped(rng)
    assert monitor.observe(broken) == "predicted probabilities are not finite"
    monitor = swapped(rng)
    assert failure_within(monitor, rng, 100) is None
    assert monitor.observe(broken) == "predicted probabilities are not finite", "later as well"


def test_a_few_odd_frames_are_no_failure() -> None:
    rng = np.random.default_rng(4)
    monitor = swapped(rng)
    for place in range(200):
        odd = {"agreement": 0.1, "confidence": 0.3} if place % 3 == 1 else {}
        assert monitor.observe(frame(rng, **odd)) is None


def test_without_frames_before_only_a_collapse_counts() -> None:
    rng = np.random.default_rng(5)
    low = {**DAY, "agreement": (0.3, 0.02), "confidence": (0.6, 0.02)}
    monitor = swapped(rng, frames=CONFIG.min_frames - 1)
    assert failure_within(monitor, rng, 100, low) is None
    monitor = swapped(rng, frames=0)
    failure = failure_within(monitor, rng, 100, DAY, BAD["fused"][1])
    assert failure is not None
    # A desert is one class everywhere with any weights.
    monitor = RollbackMonitor(CONFIG)
    for _ in range(20):
        monitor.observe(frame(rng, DAY, BAD["fused"][1]))
    monitor.swapped(source=False, newer=True)
    assert failure_within(monitor, rng, 100, DAY, BAD["fused"][1]) is None


def test_a_start_with_a_covered_camera_is_no_failure() -> None:
    """Else version after version would be taken back, down to the source."""
    rng = np.random.default_rng(12)
    monitor = RollbackMonitor(CONFIG)
    monitor.swapped(source=False, newer=True)
    assert failure_within(monitor, rng, 100, {**DAY, "agreement": (0.05, 0.02), "single_class_2d": (1.0, 0.0)}) is None


def test_after_a_pause_new_weights_are_not_measured_by_what_was_before() -> None:
    rng = np.random.default_rng(13)
    elsewhere = {**DAY, "agreement": (0.4, 0.02), "confidence": (0.85, 0.02)}
    monitor = swapped(rng)
    monitor.interrupted()
    assert failure_within(monitor, rng, 100, elsewhere, HISTOGRAM[::-1]) is None
    monitor = swapped(rng)
    assert failure_within(monitor, rng, CONFIG.min_frames + 1) is None
    monitor.interrupted()
    assert monitor.state == "trial"
    assert failure_within(monitor, rng, CONFIG.trial, elsewhere, HISTOGRAM[::-1]) is None
    assert monitor.state == "trusted"


def test_a_few_frames_after_a_pause_conclude_nothing() -> None:
    rng = np.random.default_rng(14)
    monitor = trusted(rng)
    monitor.interrupted()
    odd = {**DAY, "agreement": (0.0, 0.0), "confidence": (0.2, 0.0)}
    assert failure_within(monitor, rng, CONFIG.min_frames - 1, odd) is None
    assert failure_within(monitor, rng, 1, odd) is not None


# Later ----------------------------------------------------------------------------------------------------------------


def trusted(rng: np.random.Generator) -> RollbackMonitor:
    monitor = swapped(rng)
    assert failure_within(monitor, rng, CONFIG.trial) is None
    assert monitor.state == "trusted"
    return monitor


@pytest.mark.parametrize("look", [NIGHT, {**DAY, "confidence": (0.8, 0.02)}, {**DAY, "single_class_2d": (0.99, 0.0)}])
def test_another_scene_is_no_failure(look: dict) -> None:
    rng = np.random.default_rng(6)
    monitor = trusted(rng)
    for phase in (look, DAY, look):
        assert failure_within(monitor, rng, 100, phase, HISTOGRAM[[3, 0, 1, 2, 4, 5, 6, 7]]) is None, monitor.reason


def test_a_covered_camera_is_no_failure() -> None:
    rng = np.random.default_rng(7)
    monitor = trusted(rng)
    assert failure_within(monitor, rng, 100, {**DAY, "agreement": (0.05, 0.02), "single_class_2d": (1.0, 0.0)}) is None


@pytest.mark.parametrize(
    ("look", "histogram"),
    [
        ({**DAY, "agreement": (0.1, 0.05)}, HISTOGRAM),
        ({**DAY, "confidence": (0.4, 0.05)}, HISTOGRAM),
        (DAY, BAD["fused"][1]),
    ],
)
def test_a_collapse_later_is_a_failure(look: dict, histogram: np.ndarray) -> None:
    rng = np.random.default_rng(8)
    failure = failure_within(trusted(rng), rng, 2 * CONFIG.window, look, histogram)
    assert failure is not None


# Going back, and again forth ------------------------------------------------------------------------------------------


def test_what_comes_after_a_failure_is_not_compared_with_what_failed() -> None:
    rng = np.random.default_rng(9)
    monitor = swapped(rng)
    sure = {**DAY, "agreement": (1.0, 0.0), "confidence": (1.0, 0.0)}  # one class, and sure of it
    assert failure_within(monitor, rng, 50, sure, BAD["fused"][1]) is not None
    monitor.swapped(source=False, newer=False)
    assert failure_within(monitor, rng, 100, NIGHT) is None
    # And neither is what somebody goes back to for reasons of their own.
    monitor = trusted(rng)
    monitor.swapped(source=False, newer=False)
    assert failure_within(monitor, rng, 100, {**DAY, "agreement": (0.5, 0.05)}) is None


def test_the_second_of_two_quick_swaps_is_measured_by_what_was_before_the_first() -> None:
    rng = np.random.default_rng(10)
    monitor = swapped(rng)
    assert failure_within(monitor, rng, 3, {**DAY, "agreement": (0.3, 0.02)}) is None
    monitor.swapped(source=False, newer=True)
    assert failure_within(monitor, rng, CONFIG.trial, {**DAY, "agreement": (0.3, 0.02)}) is not None


def test_the_source_never_fails() -> None:
    rng = np.random.default_rng(11)
    monitor = trusted(rng)
    monitor.swapped(source=True, newer=False)
    assert monitor.state == "idle"
    broken = dataclasses.replace(frame(rng), finite=False)
    assert monitor.observe(broken) is None
    assert failure_within(monitor, rng, 100, {**DAY, "agreement": (0.0, 0.0)}, BAD["fused"][1]) is None


def test_settings_that_could_never_conclude_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_frames 30 is more than"):
        Config.from_flat({"adaptation.rollback.min_frames": 30})
