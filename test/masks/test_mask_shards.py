"""Shards of masks: the masks that the generators make, read back by frame and camera."""

import os
from dataclasses import replace

import numpy as np
import pytest

from sam_adapt_ros.config import MaskConfig, SamLidarConfig
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.masks import SeenPoints, build
from sam_adapt_ros.masks.mask_shards import MaskShard, StoredMasks


def same(first, second):
    np.testing.assert_array_equal(first.membership, second.membership)
    np.testing.assert_array_equal(first.areas, second.areas)
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.sources == second.sources


@pytest.fixture
def config(sam_config):
    return MaskConfig(sam=sam_config, sam_lidar=SamLidarConfig(prompts=6))


def shard_of(name, config, scene, tmp_path, frames=("a", "b")):
    generator = build(config.model_copy(update={"generator": name}))
    shard = MaskShard(name)
    for frame in frames:
        shard.add(frame, *scene, generator)
    shard.save(tmp_path / f"{name}.npz")
    return MaskShard.load(tmp_path / f"{name}.npz")


@pytest.mark.parametrize("names", [["segments"], ["regions"], ["sam"], ["sam_lidar"], ["sam", "segments"]])
def test_stored_masks_are_the_masks(config, scene, tmp_path, names):
    shards = [shard_of(name, config, scene, tmp_path) for name in names]
    made = build(config.model_copy(update={"generator": "+".join(names)}))(*scene)
    assert len(made) > 2
    for frame in ("a", "b"):
        stored = StoredMasks(shards, frame, config.min_points)
        same(stored(*scene), made)
        assert stored.name == "+".join(names)


def test_masks_of_an_image_serve_other_points_and_others_do_not(config, scene, tmp_path):
    view, seen = scene
    fewer = SeenPoints(seen.points, seen.index[::2], seen.uv[::2], seen.depth[::2])
    made = build(config.model_copy(update={"generator": "sam"}))(view, fewer)
    same(shard_of("sam", config, scene, tmp_path).at("a", view.name, fewer, config.min_points), made)
    with pytest.raises(StoreError, match=r"segments masks of frame a, camera .* make the masks again"):
        shard_of("segments", config, scene, tmp_path).at("a", view.name, fewer, 1)


def test_views_that_see_nothing_are_kept_too(config, scene, tmp_path):
    view, seen = scene
    none = SeenPoints(seen.points, seen.index[:0], seen.uv[:0], seen.depth[:0])
    shard = shard_of("segments", config, (view, none), tmp_path)
    assert list(shard) == [("a", view.name), ("b", view.name)]
    assert shard.at("a", view.name, none, 1).membership.shape == (0, 0)


def test_what_is_missing_or_damaged_is_named(config, scene, tmp_path):
    view, seen = scene
    shard = shard_of("segments", config, scene, tmp_path)
    with pytest.raises(StoreError, match=r"segments masks of frame c, camera .*: not made"):
        StoredMasks([shard], "c", 1)(view, seen)
    with pytest.raises(StoreError, match="not made"):
        StoredMasks([shard], "a", 1)(replace(view, name="other"), seen)
    path = tmp_path / "segments.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, "lengths": arrays["lengths"][:-1]})
    with pytest.raises(StoreError, match=r"segments\.npz: not a shard of masks"):
        MaskShard.load(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(StoreError, match=r"segments\.npz"):
        MaskShard.load(path)


def test_a_full_disk_leaves_the_shard_that_was_there(config, scene, tmp_path, monkeypatch):
    kept = shard_of("segments", config, scene, tmp_path, frames=["a"])
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match=r"segments\.npz.*disk_full"):
        shard_of("segments", config, scene, tmp_path)
    monkeypatch.undo()
    assert list(MaskShard.load(tmp_path / "segments.npz")) == list(kept)
    assert [path.name for path in tmp_path.iterdir()] == ["segments.npz"]
