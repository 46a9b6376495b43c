import numpy as np
import pytest
from learning_support import drive, make_frame

from sam_adapt_ros.adaptation import FrameBuffer, summarize
from sam_adapt_ros.adaptation.buffer.frame_summary import FrameSummary
from sam_adapt_ros.adaptation.monitoring.drift_detector import DriftDetector
from sam_adapt_ros.config import BufferConfig, DriftConfig

CONFIG = DriftConfig(window=5)


def summary(confidence: float, shares: tuple = (0.5, 0.3, 0.2), mean_color: tuple = (0.5, 0.5, 0.5)) -> FrameSummary:
    colors = np.tile(mean_color, 16) / np.sqrt(48)
    return FrameSummary(np.array(shares), np.r_[np.sqrt(shares) / np.sqrt(2), colors], confidence)


def see(detector: DriftDetector, count: int, confidence: float = 0.9, **changes: tuple) -> DriftDetector:
    for _ in range(count):
        detector.observe(summary(confidence, **changes))
    return detector


def test_the_same_again_is_no_drift() -> None:
    detector = see(DriftDetector(CONFIG), 4)
    assert detector.distances == {}
    see(detector, 30)
    assert detector.distances == pytest.approx({"histogram": 0, "mean_color": 0, "confidence": 0}, abs=1e-9)
    assert not detector.drift


@pytest.mark.parametrize(
    ("change", "name", "far"),
    [
        ({"shares": (0.1, 0.3, 0.6)}, "histogram", 0.4),
        ({"mean_color": (0.1, 0.1, 0.1)}, "mean_color", 0.4),
        ({"confidence": 0.5}, "confidence", 0.4),
    ],
)
def test_each_change_is_found_and_measured(change: dict, name: str, far: float) -> None:
    detector = see(see(DriftDetector(CONFIG), 10), 5, **change)
    assert detector.drift == {name: pytest.approx(far)}


def test_one_frame_is_no_drift_and_what_was_learned_is_none_any_more() -> None:
    detector = see(see(DriftDetector(CONFIG), 10), 1, mean_color=(0.1, 0.1, 0.1))
    assert not detector.drift
    see(detector, 5, mean_color=(0.1, 0.1, 0.1))
    assert detector.drift
    detector.reset_reference()
    assert not detector.drift
    see(detector, 5, mean_color=(0.1, 0.1, 0.1))
    assert not detector.drift
    assert "mean_color" in see(detector, 5).drift  # and back


def test_without_probability_confidence_is_not_judged() -> None:
    detector = see(see(DriftDetector(CONFIG), 10, confidence=float("nan")), 5)
    assert set(detector.distances) == {"histogram", "mean_color"}


def test_the_present_color_changes_from_one_scene_to_the_other_at_once() -> None:
    detector = see(DriftDetector(CONFIG), 5, mean_color=(0.6, 0.6, 0.6))
    for expected in (0.6, 0.6, 0.1, 0.1):
        see(detector, 1, mean_color=(0.1, 0.1, 0.1))
        np.testing.assert_allclose(detector.mean_color, expected)


def test_frames_of_the_present_scene_are_told_by_their_colours() -> None:
    buffer = FrameBuffer(BufferConfig(held_out=0.0, min_distance=0.0, split_gap=0.5))
    frames = [*drive(4), *(make_frame(200 + n, dusk=True, at=100.0 + n) for n in range(3))]
    summaries = [summarize(frame, frame.ground_truth, 3) for frame in frames]
    for frame, each in zip(frames, summaries, strict=True):
        assert buffer.add(frame, each)
    stored = buffer.training()
    by_day, by_dusk = (stored.of_color(summaries[place].mean_color, 0.2) for place in (0, -1))
    assert by_day.keys == stored.keys[:4]
    assert by_dusk.keys == stored.keys[4:]
    for frame, each in zip(frames, summaries, strict=True):
        np.testing.assert_allclose(each.mean_color, frame.views[0].image.mean((0, 1)) / 255, atol=0.01)
