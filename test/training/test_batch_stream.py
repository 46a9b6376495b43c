import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.image_branch import sample_bilinear
from sam_adapt_ros.training import augmentation
from sam_adapt_ros.training.augmentation import augment, jitter_color
from sam_adapt_ros.training.batch_stream import BatchStream, count_classes

MakeFrame = Callable[..., Frame]
STILL = AugmentationConfig(rotation_noise=0, max_rotation=0, translation=0, color_jitter=0)


@pytest.fixture
def no_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "FLIP_POINTS", 0.0)
    monkeypatch.setattr(augmentation, "FLIP_IMAGE", 0.0)


@given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 7))
def test_sampling_matches_a_loop(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((2, 3, height, width)).astype(np.float32)
    uv = rng.uniform(-1, max(height, width) + 1, (8, 2)).astype(np.float32)
    which = rng.integers(0, 2, 8)
    got = sample_bilinear(torch.tensor(maps), torch.tensor(which), torch.tensor(uv)).numpy()
    for n in range(8):
        u, v = np.clip(uv[n], 0, [width - 1, height - 1])
        u0, v0 = int(u), int(v)
        u1, v1 = min(u0 + 1, width - 1), min(v0 + 1, height - 1)
        a, b = u - u0, v - v0
        m = maps[which[n]]
        upper, lower = (1 - a) * m[:, v0, u0] + a * m[:, v0, u1], (1 - a) * m[:, v1, u0] + a * m[:, v1, u1]
        np.testing.assert_allclose(got[n], (1 - b) * upper + b * lower, atol=1e-4)


def test_resizing_keeps_points_on_their_pixels(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    """The colours of a ramp image are the pixels' original coordinates."""
    frame = make_frame(width=192, height=96)
    ramp = np.zeros((96, 192, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(192), np.arange(96)[:, None]
    view = dataclasses.replace(frame.views[0], image=ramp)
    sample = Sample.from_frame(dataclasses.replace(frame, views=(view,)), tiny)
    full = Sample.from_frame(
        dataclasses.replace(frame, views=(view,)), tiny.model_copy(update={"image_width": 192, "image_height": 96})
    )
    seen = sample.camera == 0
    assert seen.any()
    u, v = np.ascontiguousarray(sample.uv[seen].T)
    colors = cv2.remap(sample.images[0], u[None], v[None], cv2.INTER_LINEAR)[0]
    inner = (np.abs(full.uv[seen] - [95.5, 47.5]) < [94, 46]).all(1)
    np.testing.assert_allclose(colors[inner, :2], full.uv[seen][inner], atol=1)


def test_collate_keeps_frames_apart(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    samples = [Sample.from_frame(make_frame(seed, cameras=seed), tiny) for seed in (2, 0, 1)]
    batch = collate(samples, tiny)
    assert batch.frames == 3 and batch.images.shape[0] == 3
    sizes = [len(sample.points) for sample in samples]
    frame_of_point = np.repeat(np.arange(3), sizes)
    np.testing.assert_array_equal(batch.voxels[batch.voxel_of_point, 0], frame_of_point)
    assert len(np.unique(batch.voxels.numpy(), axis=0)) == len(batch.voxels) and batch.voxels.min() >= 0
    points = np.concatenate([sample.points for sample in samples])
    cells = np.floor(points.astype(np.float64) / tiny.voxel_size).astype(int)
    offsets = batch.voxels[batch.voxel_of_point, 1:].numpy() - cells
    for frame in range(3):
        own = offsets[frame_of_point == frame]
        assert (own == own[0]).all() and (own % (1 << (tiny.point_levels - 1)) == 0).all()
    camera = np.concatenate([sample.camera for sample in samples])
    np.testing.assert_array_equal(np.flatnonzero(camera >= 0), batch.seen)
    expected = camera[batch.seen] + np.array([0, 2, 2])[frame_of_point[batch.seen]]
    np.testing.assert_array_equal(batch.image_of_seen, expected)


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


@pytest.mark.usefixtures("no_flips")
def test_nothing_changes_without_augmentation(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    sample = Sample.from_frame(make_frame(cameras=3), tiny)
    none = augment(sample, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(none.points, sample.points, atol=1e-6)
    np.testing.assert_array_equal(none.images, sample.images)


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
    before = {name: value.copy() for name, value in vars(sample).items()}
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


def test_a_batch_depends_on_its_number_alone(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    samples = [Sample.from_frame(make_frame(seed, points=200), tiny) for seed in range(5)]
    stream = BatchStream(samples, tiny, AugmentationConfig(), 2, seed=4)
    ahead = list(stream.iterate(0, 6, workers=2))
    for number in (5, 0, 3):
        again = stream.batch(number)
        for name in ("images", "voxels", "voxel_of_point", "uv", "labels"):
            assert torch.equal(getattr(again, name), getattr(ahead[number], name))
    picked = [stream._at(place) for place in range(10)]
    assert sorted(picked[:5]) == sorted(picked[5:]) == [0, 1, 2, 3, 4]


def test_counts_are_of_labelled_points(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    frames = [make_frame(seed, points=100) for seed in range(2)]
    frames[0].ground_truth[:10] = 255
    samples = [Sample.from_frame(frame, tiny) for frame in frames]
    labels = np.concatenate([frame.ground_truth for frame in frames])
    np.testing.assert_array_equal(count_classes(samples, 3), np.bincount(labels[labels < 255], minlength=3))


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


def test_voxel_features_match_a_loop(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    sample = Sample.from_frame(make_frame(points=300), tiny)
    assert (collate([sample], tiny).features == 1).all()
    batch = collate([sample], tiny.model_copy(update={"point_features": "offset"}))
    assert batch.features.shape == (len(batch.voxels), 4)
    inverse = batch.voxel_of_point.numpy()
    for voxel in range(len(batch.voxels)):
        cells = sample.points[inverse == voxel].astype(np.float64) / tiny.voxel_size
        expected = 2 * (cells.mean(0) - np.floor(cells[0])) - 1
        np.testing.assert_allclose(batch.features[voxel], [1, *expected], atol=1e-4)


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
