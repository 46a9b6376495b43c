import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.training import augmentation
from sam_adapt_ros.training.augmentation import augment, jitter_color

MakeFrame = Callable[..., Frame]
STILL = AugmentationConfig(rotation_noise=0, max_rotation=0, translation=0, color_jitter=0)


@pytest.fixture
def no_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "FLIP_POINTS", 0.0)
    monkeypatch.setattr(augmentation, "FLIP_IMAGE", 0.0)


@pytest.mark.usefixtures("no_flips")
def test_nothing_changes_without_augmentation(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    sample = Sample.from_frame(make_frame(cameras=3), tiny)
    none = augment(sample, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(none.points, sample.points, atol=1e-6)
    np.testing.assert_array_equal(none.images, sample.images)


@pytest.mark.usefixtures("no_flips")
def test_flipping_the_image_flips_the_pixels(
    tiny: ArchitectureConfig, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "FLIP_IMAGE", 1.0)
    sample = Sample.from_frame(make_frame(cameras=3), tiny)
    flipped = augment(sample, STILL, np.random.default_rng(0))
    for n in np.flatnonzero(sample.camera >= 0)[:200]:
        u, v = np.rint(sample.uv[n]).astype(int).clip(0, [95, 47])
        fu = 95 - u
        k = sample.camera[n]
        np.testing.assert_array_equal(flipped.images[k, v, fu], sample.images[k, v, u])
        assert flipped.uv[n, 0] == pytest.approx(95 - sample.uv[n, 0])
    np.testing.assert_array_equal(flipped.points, sample.points)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_augmentation_repeats_and_leaves_its_input_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sample = Sample(
        rng.standard_normal((20, 3)).astype(np.float32),
        rng.integers(-1, 2, 20).astype(np.int8),
        rng.uniform(0, 7, (20, 2)).astype(np.float32),
        rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8),
        np.arange(20),
        rng.integers(0, 3, 20).astype(np.uint8),
    )
    before = copy.deepcopy(vars(sample))
    first = augment(sample, AugmentationConfig(), np.random.default_rng(seed))
    second = augment(sample, AugmentationConfig(), np.random.default_rng(seed))
    for name, value in before.items():
        np.testing.assert_array_equal(vars(sample)[name], value)
        np.testing.assert_array_equal(vars(first)[name], vars(second)[name])


def test_flip_and_rotation_keep_distances() -> None:
    points = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    sample = Sample(points, np.full(10, -1, np.int8), np.zeros((10, 2), np.float32), np.zeros((0, 8, 8, 3), np.uint8),
                    np.arange(10))  # fmt: skip
    turned = augment(sample, AugmentationConfig(rotation_noise=0), np.random.default_rng(3)).points
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    np.testing.assert_allclose(np.linalg.norm(turned[:, None] - turned, axis=2), distance, atol=1e-4)
    np.testing.assert_allclose(np.diff(turned[:, 2]), np.diff(points[:, 2]), atol=1e-5)


def test_color_jitter_matches_its_steps() -> None:
    image = np.random.default_rng(0).integers(60, 120, (6, 5, 3), dtype=np.uint8)
    b, c, s = np.random.default_rng(7).uniform(0.9, 1.1, 3)
    luma = np.array([0.299, 0.587, 0.114])
    expected = image.astype(float) * b
    expected = (expected @ luma)[..., None] * (1 - s) + expected * s
    expected = expected * c + (1 - c) * (image.astype(float) @ luma).mean() * b
    got = jitter_color(image, 0.1, np.random.default_rng(7))
    np.testing.assert_allclose(got, expected, atol=0.6)


def test_a_sector_keeps_what_cameras_see(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    sample = Sample.from_frame(make_frame(points=4000), tiny)
    part = augment(sample, STILL.model_copy(update={"sector": 0.25}), np.random.default_rng(1))
    assert (part.camera >= 0).sum() == (sample.camera >= 0).sum()
    unseen = sample.points[part.rows[part.camera < 0]]
    assert 0.1 < len(unseen) / (sample.camera < 0).sum() < 0.45
    azimuth = np.sort(np.arctan2(unseen[:, 1], unseen[:, 0]))
    gaps = np.append(np.diff(azimuth), azimuth[0] + 2 * np.pi - azimuth[-1])
    assert (gaps > 0.5).any()
    np.testing.assert_array_equal(part.labels, sample.labels[part.rows])


@pytest.mark.usefixtures("no_flips")
def test_cropping_keeps_points_on_their_pixels(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    sample = Sample.from_frame(make_frame(), tiny)
    width = sample.images.shape[2]
    ramp = np.repeat(np.arange(width, dtype=np.uint8)[None, None, :, None], 3, 3)
    sample = dataclasses.replace(sample, images=np.repeat(ramp, sample.images.shape[1], 1))
    for seed in range(5):
        cropped = augment(sample, STILL.model_copy(update={"crop_image": 0.5}), np.random.default_rng(seed))
        left = int(cropped.images[0, 0, 0, 0])
        assert cropped.images.shape[2] == width // 2
        assert len(cropped.points) == len(sample.points)
        inside = (sample.camera == 0) & (np.abs(sample.uv[:, 0] - left - (width // 2 - 1) / 2) < width // 4)
        np.testing.assert_array_equal(cropped.camera == 0, inside)
        np.testing.assert_allclose(cropped.uv[inside, 0], sample.uv[inside, 0] - left)
        assert 0 < inside.sum() < (sample.camera == 0).sum()


def test_no_point_leaves_its_image_by_a_flip(
    tiny: ArchitectureConfig, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even at the border, where rounding moves it."""
    monkeypatch.setattr(augmentation, "FLIP_IMAGE", 1.0)
    sample = Sample.from_frame(make_frame(), tiny)
    own = np.flatnonzero(sample.camera == 0)
    sample.uv[own, 0] = np.nextafter(np.float32(-0.5), np.float32(0))
    flipped = augment(sample, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped.camera, sample.camera)
