from dataclasses import replace

import numpy as np
import pytest
from buffer_support import make_frame

from sam_adapt_ros.adaptation.buffer.frame_checks import FrameChecks, image_statistics

MIN_POINTS = 40


def fault(checks, frame):
    """Of a frame all of whose finite points are labelled."""
    return checks.fault(frame, np.where(np.isfinite(frame.points).all(1), 0, 255).astype(np.uint8))


def with_image(frame, image):
    return replace(frame, views=(*frame.views[1:], replace(frame.views[0], image=image)))


def test_frames_of_a_scene_have_no_fault():
    checks = FrameChecks(MIN_POINTS)
    assert [fault(checks, make_frame(seed, views=2)) for seed in range(5)] == [None] * 5


def test_a_sweep_with_too_few_finite_points_is_a_fault():
    checks = FrameChecks(MIN_POINTS)
    frame = make_frame(0)
    frame.points[:11] = np.nan
    assert fault(checks, frame) == "no_points"
    assert fault(checks, make_frame(1, points=0)) == "no_points"


def test_a_sweep_that_the_network_sees_little_of_is_a_fault():
    frame, labels = make_frame(0), np.zeros(len(make_frame(0).points), np.uint8)
    labels[::2] = labels[1] = 255
    assert FrameChecks(1).fault(frame, labels) == "points_outside"
    assert FrameChecks(MIN_POINTS).fault(frame, labels) == "no_points"


def test_a_frozen_sweep_is_known_in_a_map_as_well():
    """The vehicle's pose changes, the message does not."""
    checks, first, other = FrameChecks(MIN_POINTS), make_frame(0), make_frame(1)
    same = replace(other, message_points=first.points)
    assert fault(checks, replace(first, message_points=first.points)) is None
    assert fault(checks, same) == "frozen_lidar"


def test_a_sweep_that_repeats_itself_is_a_fault_missing_returns_or_not():
    checks = FrameChecks(MIN_POINTS)
    first, other = make_frame(0), make_frame(1)
    first.points[3] = np.nan
    assert fault(checks, first) is None
    assert fault(checks, replace(first, stamp_ns=7)) == "frozen_lidar"
    assert fault(checks, other) is None
    assert fault(checks, first) is None


def test_the_last_sweep_is_remembered_by_value():
    checks = FrameChecks(MIN_POINTS)
    frame = make_frame(0)
    assert fault(checks, frame) is None
    frame.points[:] += 1
    assert fault(checks, frame) is None


@pytest.mark.parametrize("kind", ["dark_image", "noisy_image"])
def test_one_camera_at_fault_is_enough(kind):
    frame = make_frame(0, views=2)
    shape = frame.views[0].image.shape
    bad = {
        "dark_image": np.full(shape, 3, np.uint8),
        "noisy_image": np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8),
    }[kind]
    assert fault(FrameChecks(MIN_POINTS), with_image(frame, bad)) == kind


def test_without_a_camera_nothing_is_learned_from():
    assert fault(FrameChecks(MIN_POINTS), make_frame(0, views=0)) == "no_images"


def test_image_statistics_are_those_of_the_pixels():
    rng = np.random.default_rng(1)
    grey = np.repeat(rng.integers(0, 256, (40, 60, 1)), 3, 2).astype(np.uint8)
    contrast, correlation = image_statistics(grey)
    values = grey[..., 0].astype(float)
    assert contrast == pytest.approx(values.std(), rel=0.01)
    assert abs(correlation) < 0.1
    smooth = np.repeat(np.add.outer(np.arange(40), np.arange(60))[..., None], 3, 2).astype(np.uint8)
    assert image_statistics(smooth)[1] > 0.9
    assert image_statistics(np.zeros((1, 5, 3), np.uint8)) == (0.0, 1.0)
