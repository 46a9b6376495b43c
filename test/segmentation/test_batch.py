import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import FAR, Sample, collate, normalize_intensity, voxel_channels

MakeFrame = Callable[..., Frame]


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
    assert batch.voxels.min() >= 0
    np.testing.assert_array_equal(batch.voxels, np.unique(batch.voxels.numpy(), axis=0))  # each once, ascending
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


def test_all_of_a_batch_goes_to_a_gpu_through_pinned_memory(
    tiny: ArchitectureConfig, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = collate([Sample.from_frame(make_frame(), tiny)], tiny)
    assert batch.to(torch.device("cpu")) is batch
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    moved = vars(batch.to(torch.device("meta")))
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    assert {"images", "points", "uv", "voxels", "labels"} <= tensors.keys() and len(pinned) == len(tensors)
    for name, tensor in tensors.items():
        assert moved[name].device.type == "meta" and moved[name].shape == tensor.shape
    assert {name: moved[name] for name in moved.keys() - tensors} == {
        name: value for name, value in vars(batch).items() if name not in tensors
    }


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


def test_further_inputs_of_voxels_match_a_loop(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    architecture = tiny.model_copy(update={"point_features": "offset", "point_inputs": ["range", "intensity"]})
    frame = make_frame(points=300)
    strength = np.random.default_rng(0).gamma(1.0, 40.0, 300).astype(np.float32)
    sample = Sample.from_frame(dataclasses.replace(frame, intensity=strength), architecture)
    batch = collate([sample], architecture)
    plain = collate([sample], tiny.model_copy(update={"point_features": "offset"}))
    without = collate([dataclasses.replace(sample, intensity=None)], architecture)
    assert voxel_channels(architecture) == batch.features.shape[1] == 6
    rank = (np.argsort(np.argsort(strength)) + 0.5) / 300 * 2 - 1  # no two are equal
    inverse = batch.voxel_of_point.numpy()
    for voxel in range(len(batch.voxels)):
        own = inverse == voxel
        expected = np.linalg.norm(sample.points[own], axis=1).mean() / FAR, rank[own].mean()
        np.testing.assert_allclose(batch.features[voxel, 4:], expected, atol=1e-5)
    np.testing.assert_array_equal(batch.features[:, :4], plain.features)
    assert (without.features[:, 5] == 0).all() and torch.equal(without.features[:, :5], batch.features[:, :5])


def test_points_keep_their_intensity_when_others_are_left_out(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    architecture = tiny.model_copy(update={"point_inputs": ["intensity"]})
    frame = make_frame(points=300)
    points = frame.points.copy()
    points[:100] = np.nan
    points[100:120] = 1e7
    sample = Sample.from_frame(
        dataclasses.replace(frame, points=points, intensity=np.arange(300, dtype=np.float32)), architecture
    )
    np.testing.assert_array_equal(sample.rows, np.arange(120, 300))
    assert (np.diff(sample.intensity) > 0).all() and sample.intensity[-1] > 0.99
    assert sample.intensity[0] == pytest.approx(-0.8, abs=0.01)  # the 20 far ones are measurements, and count as such
    half = sample.only(np.arange(180) % 2 == 0)
    np.testing.assert_array_equal(half.intensity, sample.intensity[::2])
    assert Sample.from_frame(dataclasses.replace(frame, intensity=points[:, 0]), tiny).intensity is None


@given(st.lists(st.floats(0, 1000, width=32), min_size=1, max_size=60), st.floats(0.125, 256.0), st.floats(-5, 5))
def test_intensity_means_the_same_whatever_the_sensor_s_scale(values: list[float], scale: float, shift: float) -> None:
    intensity = np.round(np.array(values, np.float32), 1)
    ranks = normalize_intensity(intensity)
    expected = [((intensity < x).sum() + (intensity <= x).sum()) / len(values) - 1 for x in intensity]
    np.testing.assert_allclose(ranks, expected, atol=1e-6)
    np.testing.assert_array_equal(
        normalize_intensity(np.sqrt(intensity) * np.float32(scale) + np.float32(shift)), ranks
    )


def test_intensity_that_is_no_number_is_in_the_middle() -> None:
    found = normalize_intensity(np.array([np.nan, 0, 10, np.inf, 20], np.float32))
    np.testing.assert_allclose(found, [0, -2 / 3, 0, 0, 2 / 3], atol=1e-6)
    assert normalize_intensity(np.full(5, np.nan, np.float32)).tolist() == [0] * 5
    many = np.random.default_rng(0).permutation(50_000).astype(np.float32)
    np.testing.assert_allclose(normalize_intensity(many), (2 * many + 1) / 50_000 - 1, atol=1e-5)
