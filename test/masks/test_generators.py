"""Image regions, true instances, LiDAR segments on a small scene, building and combining."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.config import MaskConfig, RegionsConfig, SegmentsConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.geometry import project
from sam_adapt_ros.masks import SeenPoints, build, image_regions
from sam_adapt_ros.masks.image_regions import ImageRegions
from sam_adapt_ros.masks.lidar_segments import LidarSegments, _hull_areas, _without_repeats


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 80), st.integers(1, 120), st.integers(0, 1000))
def test_regions_partition_the_image_and_are_nested(height, width, seed):
    rng = np.random.default_rng(seed)
    image = np.kron(rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3)), np.ones((8, 8, 1)))
    levels = ImageRegions(RegionsConfig(width=60)).segment(image[:height, :width].astype(np.uint8))
    assert len(levels) == 3
    for finer, coarser in pairwise(levels):
        assert finer.shape == coarser.shape
        parents = {(int(a), int(b)) for a, b in zip(finer.ravel(), coarser.ravel(), strict=True)}
        assert len(parents) == len(np.unique(finer))
        assert len(np.unique(coarser)) <= len(np.unique(finer))


def test_a_region_holds_the_points_whose_pixels_are_on_it(scene, monkeypatch):
    monkeypatch.setattr(image_regions, "SIGMA", 0.0)
    view, seen = scene
    image = np.zeros_like(view.image)
    image[:, 100:] = (200, 30, 90)
    masks = ImageRegions(RegionsConfig(scales=[100.0]))(replace(view, image=image), seen)
    height, width = image.shape[:2]
    right = seen.uv[:, 0] >= 99.5
    assert len(masks) == 2
    assert {tuple(row) for row in masks.membership} == {tuple(right), tuple(~right)}
    assert sorted(masks.areas) == [height * 100, height * (width - 100)]


def test_regions_areas_are_full_resolution_pixels(scene):
    view, seen = scene
    masks = ImageRegions(RegionsConfig(width=50, scales=[100.0]))(view, seen)
    assert masks.areas.sum() <= view.image.shape[0] * view.image.shape[1] * 1.001
    assert masks.areas.sum() > 0.5 * view.image.shape[0] * view.image.shape[1]


def test_true_instances(scene):
    view, seen = scene
    instances = np.zeros(view.image.shape[:2], np.uint16)
    instances[:, 50:120] = 7
    instances[80:, 150:] = 40_000
    masks = build(MaskConfig(generator="instances"))(replace(view, instances=instances), seen)
    rows, columns = seen.pixels(*instances.shape)
    assert masks.areas.tolist() == [(instances == 7).sum(), (instances == 40_000).sum()]
    assert (masks.membership == np.stack([instances[rows, columns] == each for each in (7, 40_000)])).all()
    with pytest.raises(MaskError, match=r"front.*instances"):
        build(MaskConfig(generator="instances"))(view, seen)
    with pytest.raises(MaskError, match="expected"):
        build(MaskConfig(generator="instances"))(replace(view, instances=instances[:-1]), seen)


def test_segments_keep_apart_what_stands_and_what_it_stands_on(scene):
    view, _ = scene
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(3, 40, 6000), rng.uniform(-15, 15, 6000), rng.normal(-1.8, 0.02, 6000)])
    body = rng.uniform(-1, 1, (400, 3)) * (1, 0.8, 0.6) + (12, 0, -0.8)
    far = rng.uniform(-1, 1, (300, 3)) * (1, 0.8, 0.6) + (25, 6, -0.8)
    points = np.concatenate([ground, body, far, np.full((5, 3), np.nan)]).astype(np.float32)
    seen = SeenPoints.of(points, project(points, view))
    masks = LidarSegments(SegmentsConfig(), min_points=3)(view, seen)
    kind = np.repeat([0, 1, 2, 3], [6000, 400, 300, 5])[seen.index]
    for row in masks.membership:
        assert len(set(kind[row])) == 1
    for body_kind in (1, 2):
        best = max((masks.membership & (kind == body_kind)).sum(axis=1))
        assert best > 0.95 * (kind == body_kind).sum()
    assert masks.membership[:, kind == 0].any(axis=0).mean() > 0.95
    assert np.array_equal(LidarSegments(SegmentsConfig(), min_points=3)(view, seen).membership, masks.membership)


def test_a_sweep_is_segmented_once_for_all_cameras(scene, monkeypatch):
    view, seen = scene
    calls = []
    generator = LidarSegments(SegmentsConfig())
    original = generator.segment
    monkeypatch.setattr(generator, "segment", lambda points: calls.append(1) or original(points))
    generator(view, seen)
    generator(replace(view, name="other"), seen)
    assert len(calls) == 1
    moved = SeenPoints(seen.points + np.float32(0.5), seen.index, seen.uv, seen.depth)
    generator(view, moved)
    assert len(calls) == 2


def test_the_input_stays_as_it_is(scene):
    view, seen = scene
    before = seen.points.copy(), seen.uv.copy(), view.image.copy()
    build(MaskConfig(generator="segments+regions"))(view, seen)
    for now, then in zip((seen.points, seen.uv, view.image), before, strict=True):
        assert np.array_equal(now, then, equal_nan=True)


def test_a_sweep_without_ground_or_without_seen_points(scene):
    view, seen = scene
    generator = LidarSegments(SegmentsConfig())
    unseen = SeenPoints(seen.points, seen.index[:0], seen.uv[:0], seen.depth[:0])
    assert generator(view, unseen).membership.shape == (0, 0)
    blank = SeenPoints(np.full((9, 3), np.nan, np.float32), seen.index[:0], seen.uv[:0], seen.depth[:0])
    assert generator(view, blank).membership.shape == (0, 0)
    assert build(MaskConfig(generator="regions"))(view, unseen).membership.shape == (0, 0)


@given(st.integers(0, 1000))
def test_a_cluster_is_no_smaller_than_what_it_holds(seed):
    rng = np.random.default_rng(seed)
    fine = rng.integers(-1, 6, 60)
    coarse = np.where(fine < 0, -1, fine // 2)
    uv = rng.uniform(0, 200, (60, 2)).astype(np.float32)
    small, large = _hull_areas(fine, uv, 1), _hull_areas(coarse, uv, 1)
    for number in np.unique(fine[fine >= 0]):
        assert large[number // 2] >= small[number] - 1e-3
        assert small[number] >= 1


def test_equal_clusters_of_two_scales_give_one_mask():
    finer = np.array([0, 0, 1, 1, 2, -1])
    ids = np.array([5, 5, 6, 6, 6, -1])
    assert _without_repeats(ids, finer).tolist() == [-1, -1, 6, 6, 6, -1]


@pytest.mark.parametrize("name", ["", "watershed", "segments+", "segments+segments", "sam_lidar+nothing"])
def test_unknown_and_repeated_generators_are_named(name):
    with pytest.raises(MaskError, match=r"masks\.generator"):
        build(MaskConfig(generator=name))


def test_a_checkpoint_is_missed_when_the_generator_is_built():
    with pytest.raises(MaskError, match=r"masks\.sam\.checkpoint"):
        build(MaskConfig(generator="segments+sam_lidar"))
