"""When weights in use have to go, and when it is only the scene that changes."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest

from sam_adapt_ros.adaptation.monitoring.deployment_monitor import FrameBehaviour, Watch, behaviour_of
from sam_adapt_ros.config import Config, RollbackConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.segmentation import Prediction

CONFIG = RollbackConfig()
# As the town's day and night show them to the shipped model: medians, and how much frames differ.
DAY = {"agreement": (0.89, 0.015), "confidence": (0.97, 0.005), "most_image": (0.49, 0.04), "most_points": (0.36, 0.04)}
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
    return FrameBehaviour(finite=True, histogram=noisy, **{"most_fused": float(noisy.max()), **drawn, **values})


def exchanged(rng: np.random.Generator, before: dict = DAY, frames: int = 30) -> Watch:
    """A watch that has seen the source at work, and now is told of new weights."""
    watch = Watch(CONFIG)
    for _ in range(frames):
        assert watch.observe(frame(rng, before)) is None
    watch.begin(source=False, newer=True)
    return watch


def fall_within(watch: Watch, rng: np.random.Generator, frames: int, *args, **values) -> tuple[int, str] | None:
    for place in range(frames):
        reason = watch.observe(frame(rng, *args, **values))
        if reason is not None:
            return place + 1, reason
    return None


# What a frame shows ---------------------------------------------------------------------------------------------------


def test_behaviour_is_what_a_slow_count_says() -> None:
    prediction = make_prediction(500)
    prediction.labels[[3, 8]], prediction.probability[[3, 8]], prediction.points[[3, 8]] = 255, 0, 0
    prediction.seen[[3, 8]] = False
    found = behaviour_of(prediction)
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
    for name, classes in (("most_image", images), ("most_points", points), ("most_fused", labels)):
        assert getattr(found, name) == pytest.approx(max(classes.count(c) for c in range(8)) / len(classes))
    assert found.histogram.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("branch", ["image", "points", "probability"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_number_that_is_not_finite_is_found(branch: str, value: float) -> None:
    prediction = make_prediction(1000)
    getattr(prediction, branch).reshape(1000, -1)[777, 0] = value
    assert not behaviour_of(prediction).finite


def test_frames_without_points_or_without_a_camera_say_nothing_wrong() -> None:
    rng = np.random.default_rng(0)
    for odd in (make_prediction(0), make_prediction(100, seen=0.0)):
        behaviour = behaviour_of(odd)
        assert behaviour.finite
        assert math.isnan(behaviour.agreement)
        watch = exchanged(rng)
        for _ in range(5):
            assert watch.observe(behaviour) is None
    # A camera that fails for good: the points alone go on, and are not judged by what it saw.
    watch = exchanged(rng)
    blind = dataclasses.replace(frame(rng), agreement=math.nan, most_image=math.nan)
    assert all(watch.observe(blind) is None for _ in range(200))
    assert watch.state == "guard"


def test_it_is_quick() -> None:
    prediction = make_prediction(35_000, seen=1.0)
    times = []
    for _ in range(20):
        start = time.thread_time()
        behaviour_of(prediction)
        times.append(time.thread_time() - start)
    assert min(times) < 3e-3  # 1.2 ms; other processes may share the cores
    assert behaviour_of(prediction).agreement == pytest.approx(
        float((prediction.image.argmax(1) == prediction.points.argmax(1)).mean()), abs=0.02
    )


# New weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [DAY, NIGHT, {**DAY, "agreement": (0.5, 0.3)}], ids=["day", "night", "flicker"])
def test_noise_alone_is_no_fall(look: dict) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        watch = exchanged(rng, look)
        assert fall_within(watch, rng, 100, look) is None, (seed, watch.reason)
        assert watch.state == "guard"


def test_better_weights_pass_and_are_then_guarded() -> None:
    rng = np.random.default_rng(1)
    watch = exchanged(rng, NIGHT)
    assert watch.state == "trial"
    assert fall_within(watch, rng, CONFIG.trial, {**NIGHT, "agreement": (0.67, 0.07)}) is None
    assert watch.state == "guard"


BAD = {
    "agreement": ({**DAY, "agreement": (0.49, 0.08)}, HISTOGRAM, "agreement 0."),  # noise on the image branch
    "confidence": ({**DAY, "confidence": (0.82, 0.01)}, HISTOGRAM, "confidence 0.8"),
    "image": ({**DAY, "most_image": (0.99, 0.002)}, HISTOGRAM, "one class everywhere in 2d"),
    "points": ({**DAY, "most_points": (0.99, 0.002)}, HISTOGRAM, "one class everywhere in 3d"),
    "fused": (DAY, np.array([0.99, 0.01, 0, 0, 0, 0, 0, 0]), "one class everywhere in fused"),
    "histogram": (DAY, HISTOGRAM[::-1], "changed class"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_weights_fall_at_once_and_say_why(kind: str) -> None:
    look, histogram, expected = BAD[kind]
    rng = np.random.default_rng(2)
    watch = exchanged(rng)
    fall = fall_within(watch, rng, CONFIG.trial, look, histogram)
    assert fall is not None
    assert fall[0] == CONFIG.min_frames
    assert expected in fall[1]
    assert (watch.state, watch.reason) == ("fallen", fall[1])
    assert fall_within(watch, rng, 50, look, histogram) is None, "said once"


def test_a_number_that_is_not_finite_is_a_fall_with_the_first_frame() -> None:
    rng = np.random.default_rng(3)
    broken = dataclasses.replace(frame(rng), finite=False, agreement=math.nan, confidence=math.nan)
    watch = exchanged(rng)
    assert watch.observe(broken) == "not finite"
    watch = exchanged(rng)
    assert fall_within(watch, rng, 100) is None
    assert watch.observe(broken) == "not finite", "later as well"


def test_a_few_odd_frames_are_no_fall() -> None:
    rng = np.random.default_rng(4)
    watch = exchanged(rng)
    for place in range(200):
        odd = {"agreement": 0.1, "confidence": 0.3} if place % 3 == 1 else {}
        assert watch.observe(frame(rng, **odd)) is None


def test_without_frames_before_only_a_collapse_counts() -> None:
    rng = np.random.default_rng(5)
    low = {**DAY, "agreement": (0.3, 0.02), "confidence": (0.6, 0.02)}
    watch = exchanged(rng, frames=CONFIG.min_frames - 1)
    assert fall_within(watch, rng, 100, low) is None
    watch = exchanged(rng, frames=0)
    fall = fall_within(watch, rng, 100, DAY, BAD["fused"][1])
    assert fall is not None
    # A desert is one class everywhere with any weights.
    watch = Watch(CONFIG)
    for _ in range(20):
        watch.observe(frame(rng, DAY, BAD["fused"][1]))
    watch.begin(source=False, newer=True)
    assert fall_within(watch, rng, 100, DAY, BAD["fused"][1]) is None


def test_a_start_with_a_covered_camera_is_no_fall() -> None:
    """Else version after version would be taken back, down to the source."""
    rng = np.random.default_rng(12)
    watch = Watch(CONFIG)
    watch.begin(source=False, newer=True)
    assert fall_within(watch, rng, 100, {**DAY, "agreement": (0.05, 0.02), "most_image": (1.0, 0.0)}) is None


def test_after_a_pause_new_weights_are_not_measured_by_what_was_before() -> None:
    rng = np.random.default_rng(13)
    elsewhere = {**DAY, "agreement": (0.4, 0.02), "confidence": (0.85, 0.02)}
    watch = exchanged(rng)
    watch.interrupted()
    assert fall_within(watch, rng, 100, elsewhere, HISTOGRAM[::-1]) is None
    watch = exchanged(rng)
    assert fall_within(watch, rng, CONFIG.min_frames + 1) is None
    watch.interrupted()
    assert watch.state == "trial"
    assert fall_within(watch, rng, CONFIG.trial, elsewhere, HISTOGRAM[::-1]) is None
    assert watch.state == "guard"


def test_a_few_frames_after_a_pause_conclude_nothing() -> None:
    rng = np.random.default_rng(14)
    watch = guarded(rng)
    watch.interrupted()
    odd = {**DAY, "agreement": (0.0, 0.0), "confidence": (0.2, 0.0)}
    assert fall_within(watch, rng, CONFIG.min_frames - 1, odd) is None
    assert fall_within(watch, rng, 1, odd) is not None


# Later ----------------------------------------------------------------------------------------------------------------


def guarded(rng: np.random.Generator) -> Watch:
    watch = exchanged(rng)
    assert fall_within(watch, rng, CONFIG.trial) is None
    assert watch.state == "guard"
    return watch


@pytest.mark.parametrize("look", [NIGHT, {**DAY, "confidence": (0.8, 0.02)}, {**DAY, "most_image": (0.99, 0.0)}])
def test_another_scene_is_no_fall(look: dict) -> None:
    rng = np.random.default_rng(6)
    watch = guarded(rng)
    for phase in (look, DAY, look):
        assert fall_within(watch, rng, 100, phase, HISTOGRAM[[3, 0, 1, 2, 4, 5, 6, 7]]) is None, watch.reason


def test_a_covered_camera_is_no_fall() -> None:
    rng = np.random.default_rng(7)
    watch = guarded(rng)
    assert fall_within(watch, rng, 100, {**DAY, "agreement": (0.05, 0.02), "most_image": (1.0, 0.0)}) is None


@pytest.mark.parametrize(
    ("look", "histogram"),
    [
        ({**DAY, "agreement": (0.1, 0.05)}, HISTOGRAM),
        ({**DAY, "confidence": (0.4, 0.05)}, HISTOGRAM),
        (DAY, BAD["fused"][1]),
    ],
)
def test_a_collapse_later_is_a_fall(look: dict, histogram: np.ndarray) -> None:
    rng = np.random.default_rng(8)
    fall = fall_within(guarded(rng), rng, 2 * CONFIG.window, look, histogram)
    assert fall is not None


# Going back, and again forth ------------------------------------------------------------------------------------------


def test_what_comes_after_a_fall_is_not_measured_by_what_fell() -> None:
    rng = np.random.default_rng(9)
    watch = exchanged(rng)
    sure = {**DAY, "agreement": (1.0, 0.0), "confidence": (1.0, 0.0)}  # one class, and sure of it
    assert fall_within(watch, rng, 50, sure, BAD["fused"][1]) is not None
    watch.begin(source=False, newer=False)
    assert fall_within(watch, rng, 100, NIGHT) is None
    # And neither is what somebody goes back to for reasons of their own.
    watch = guarded(rng)
    watch.begin(source=False, newer=False)
    assert fall_within(watch, rng, 100, {**DAY, "agreement": (0.5, 0.05)}) is None


def test_the_second_of_two_quick_exchanges_is_measured_by_what_was_before_the_first() -> None:
    rng = np.random.default_rng(10)
    watch = exchanged(rng)
    assert fall_within(watch, rng, 3, {**DAY, "agreement": (0.3, 0.02)}) is None
    watch.begin(source=False, newer=True)
    assert fall_within(watch, rng, CONFIG.trial, {**DAY, "agreement": (0.3, 0.02)}) is not None


def test_the_source_never_falls() -> None:
    rng = np.random.default_rng(11)
    watch = guarded(rng)
    watch.begin(source=True, newer=False)
    assert watch.state == "unwatched"
    broken = dataclasses.replace(frame(rng), finite=False)
    assert watch.observe(broken) is None
    assert fall_within(watch, rng, 100, {**DAY, "agreement": (0.0, 0.0)}, BAD["fused"][1]) is None


def test_settings_that_could_never_conclude_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_frames 30 is more than"):
        Config.from_flat({"adaptation.rollback.min_frames": 30})
