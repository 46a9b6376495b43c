"""The mask cache: equal masks, reused, keyed by all that they depend on, and recomputed when an entry is damaged."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from sam_adapt_ros.config import MaskConfig, RegionsConfig, SamLidarConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.masks import SeenPoints, build
from sam_adapt_ros.masks.image_masks import ImageMasks
from sam_adapt_ros.masks.mask_cache import CachedGenerator, _settings


def same(first, second):
    assert np.array_equal(first.membership, second.membership)
    assert np.array_equal(first.areas, second.areas)
    assert np.array_equal(first.scores, second.scores, equal_nan=True)
    assert first.sources == second.sources


class Counting:
    def __init__(self, generator):
        self._generator = generator
        self.name = generator.name
        self.calls = 0

    def __call__(self, *arguments):
        self.calls += 1
        return self._generator(*arguments)


@pytest.fixture
def config(tmp_path, sam_config):
    lidar = SamLidarConfig(prompts=6)
    return MaskConfig(generator="segments", cache=str(tmp_path / "masks"), sam=sam_config, sam_lidar=lidar)


@pytest.mark.parametrize("name", ["segments", "regions", "sam", "sam_lidar", "sam+segments"])
def test_cached_masks_are_the_masks(config, scene, name):
    config = config.model_copy(update={"generator": name})
    plain = build(config.model_copy(update={"cache": ""}))(*scene)
    assert len(plain) > 0
    same(build(config)(*scene), plain)
    same(build(config)(*scene), plain)


def test_the_second_time_nothing_is_computed(config, scene):
    inner = Counting(build(config.model_copy(update={"cache": ""})))
    generator = CachedGenerator(inner, config)
    first = generator(*scene)
    same(generator(*scene), first)
    assert inner.calls == 1


def test_whatever_masks_depend_on_is_in_the_key(config, scene):
    view, seen = scene
    inner = Counting(build(config.model_copy(update={"cache": ""})))
    generator = CachedGenerator(inner, config)
    generator(view, seen)
    image = view.image.copy()
    image[0, 0, 0] ^= 1
    generator(replace(view, image=image), seen)
    moved = seen.points.copy()
    moved[1, 0] += np.float32(1e-3)
    generator(view, SeenPoints(moved, seen.index, seen.uv, seen.depth))
    generator(view, SeenPoints(seen.points, seen.index[:-1], seen.uv[:-1], seen.depth[:-1]))
    generator(view, seen, np.full(len(seen), 255, np.uint8))
    assert inner.calls == 5
    other = config.model_copy(update={"segments": config.segments.model_copy(update={"min_radius": 0.31})})
    CachedGenerator(inner, other)(view, seen)
    assert inner.calls == 6
    unused = config.model_copy(update={"regions": RegionsConfig(width=100)})
    CachedGenerator(inner, unused)(view, seen)
    assert inner.calls == 6


def test_sams_image_masks_serve_any_points(config, scene, monkeypatch):
    view, seen = scene
    config = config.model_copy(update={"generator": "sam"})
    build(config)(view, seen)
    generator = build(config)
    monkeypatch.setattr(generator._generator, "image_masks", lambda image: pytest.fail("computed again"))
    fewer = SeenPoints(seen.points, seen.index[::2], seen.uv[::2], seen.depth[::2])
    assert generator(view, fewer).membership.shape[1] == len(fewer)


def test_another_checkpoint_is_another_key(config, sam_config, tmp_path):
    weights = torch.load(sam_config.checkpoint, weights_only=True)
    weights["mask_decoder.iou_token.weight"] += 1
    torch.save(weights, tmp_path / "other.pth")
    other = config.model_copy(update={"sam": sam_config.model_copy(update={"checkpoint": str(tmp_path / "other.pth")})})
    assert _settings("sam", config) != _settings("sam", other)
    assert _settings("segments", config) == _settings("segments", other)


@pytest.mark.parametrize(
    ("name", "damage"),
    [("segments", each) for each in ("empty", "cut", "flipped", "foreign", "pickle", "short")]
    + [("sam", each) for each in ("cut", "flipped", "foreign", "short")],
)
def test_a_damaged_entry_is_made_again(config, scene, name, damage, caplog):
    config = config.model_copy(update={"generator": name})
    good = build(config)(*scene)
    folder = Path(config.cache)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    if damage == "foreign":
        np.savez(path, something=np.zeros(3))
    elif damage == "pickle":
        np.savez(path, bits=np.array([{"a": 1}], dtype=object), counts=np.array([{}], dtype=object))
    elif damage == "short":
        with np.load(path) as archive:
            arrays = dict(archive)
        arrays["areas"] = arrays["areas"][:-1]
        np.savez(path, **arrays)
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": content[:middle], "flipped": flipped}[damage])
    same(build(config)(*scene), good)
    assert "computing" in caplog.text
    caplog.clear()
    same(build(config)(*scene), good)
    assert not caplog.text
    assert len(list(folder.iterdir())) == 1


def test_an_interrupted_write_leaves_nothing(config, scene, monkeypatch):
    write = os.write

    def interrupt(descriptor, data):
        write(descriptor, data[: len(data) // 2])
        raise KeyboardInterrupt

    generator = build(config)
    monkeypatch.setattr(os, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generator(*scene)
    assert list(Path(config.cache).iterdir()) == []


def test_a_full_disk_costs_the_entry_not_the_masks(config, scene, monkeypatch, caplog):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    plain = build(config.model_copy(update={"cache": ""}))(*scene)
    generator = build(config)
    monkeypatch.setattr(os, "write", full)
    same(generator(*scene), plain)
    assert "not stored" in caplog.text


def test_a_folder_that_cannot_be_made_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MaskError, match=r"masks\.cache"):
        build(config.model_copy(update={"cache": str(tmp_path / "file" / "masks")}))


def test_run_lengths_hold_the_masks(scene):
    _, seen = scene
    rng = np.random.default_rng(0)
    masks = rng.random((4, 151, 233)) < np.array([0, 0.2, 0.9, 1])[:, None, None]
    counts = tuple(coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode() for mask in masks)
    stored = ImageMasks((151, 233), counts, masks.sum((1, 2)).astype(float), np.zeros(4, np.float32))
    again = ImageMasks.from_arrays(stored.arrays(), (151, 233))
    for number in range(4):
        assert (again.mask(number) == masks[number]).all()
    rows, columns = seen.pixels(151, 233)
    assert (again.at(seen, "x", 0).membership == masks[:, rows, columns]).all()
    with pytest.raises(ValueError, match="151, 233"):
        ImageMasks.from_arrays(stored.arrays(), (151, 234))


def test_run_lengths_of_another_image_are_computed_again(config, scene, caplog):
    """Such as a program that writes entries of its own: pycocotools would read beyond the mask's end."""
    config = config.model_copy(update={"generator": "sam"})
    good = build(config)(*scene)
    (path,) = Path(config.cache).iterdir()
    with np.load(path) as archive:
        arrays = dict(archive)
    counts = json.loads(arrays["counts"].tobytes())
    arrays["counts"] = np.frombuffer(json.dumps([counts[0] + "5", *counts[1:]]).encode(), np.uint8)
    np.savez(path, **arrays)
    same(build(config)(*scene), good)
    assert "run lengths" in caplog.text
